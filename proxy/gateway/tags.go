package gateway

import (
	"bytes"
	"encoding/json"
	"strings"
	"unsafe"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

// Said is what the headers of a request say about its spend. The slices are the
// server's and live as long as the exchange.
type Said struct {
	Tags     []byte // x-litellm-tags: separated by commas
	Metadata []byte // x-litellm-spend-logs-metadata: a JSON object
	Agent    []byte // User-Agent
	Session  []byte // x-litellm-session-id, else x-litellm-trace-id
	Redact   bool   // x-litellm-enable-message-redaction
}

// Bounds of what is kept of a client's words with its spend, in bytes.
const (
	maxTags     = 16
	maxTag      = 128
	maxMetadata = 1 << 10 // more goes where requests are kept, if they are
)

// tags finds the tags of a request: those of its key and what stands over it,
// its own where the key may say some, and the program that sends it. What a
// client claims is believed of keys and teams that allow_client_tags alone, and
// of the master key: tags have budgets, and choose whose.
func (g *Gateway) tags(x *Exchange) *llm.Error {
	own := x.clientTags()
	if len(own) > 0 && g.terms.RejectTags {
		return &llm.Error{
			Kind: llm.KindBadRequest, Param: "metadata.tags",
			Message: "Requests may not carry tags here (reject_clientside_metadata_tags). Tags of the key and its team are added by the gateway.",
		}
	}
	for _, list := range x.Caller.Tags() {
		for _, t := range list {
			x.tag(t)
		}
	}
	if x.Caller.MayTag() {
		for _, t := range own {
			x.tag(t)
		}
	}
	x.headerTags()
	x.chargedTags = len(x.tagNames)
	for _, t := range x.tagNames[:x.chargedTags] {
		x.tagged = append(x.tagged, g.keys.Tag(unsafe.Slice(unsafe.StringData(t), len(t))))
	}
	x.agentTags()
	if len(x.EndUser) > 0 && !g.terms.NoCustomers {
		x.customer = g.keys.Customer(x.EndUser)
	}
	x.findMetadata()
	return nil
}

// tag adds a tag that is not there yet.
func (x *Exchange) tag(name string) {
	if name = strings.TrimSpace(name); name == "" || len(x.tagNames) >= maxTags {
		return
	}
	if len(name) > maxTag {
		name = name[:maxTag]
	}
	name = strings.ToValidUTF8(name, "?")
	for _, t := range x.tagNames {
		if t == name {
			return
		}
	}
	x.tagNames = append(x.tagNames, name)
}

// clientTags are the tags that the request carries itself.
func (x *Exchange) clientTags() []string {
	var out []string
	for rest := x.Said.Tags; len(rest) > 0; {
		var t []byte
		t, rest, _ = bytes.Cut(rest, []byte{','})
		out = append(out, string(t))
	}
	if m := x.Request.Find("tags"); m != nil && m.Kind == llm.JSONArray {
		out = append(out, texts(m.Value.Of(x.Body))...)
	}
	for _, name := range metadataFields {
		m := x.Request.Find(name)
		if m == nil || m.Kind != llm.JSONObject {
			continue
		}
		value := m.Value.Of(x.Body)
		if !bytes.Contains(value, []byte(`"tags"`)) {
			continue
		}
		var o jsonscan.Object
		o.Lenient = true
		if o.Scan(value) != nil {
			continue
		}
		if t := o.Find("tags"); t != nil && t.Kind == llm.JSONArray {
			out = append(out, texts(t.Value.Of(value))...)
		}
	}
	return out
}

// metadataFields are the members of a body that hold what a client says about
// its request, the first that is there counts.
var metadataFields = [...]string{"litellm_metadata", "metadata"}

func texts(list []byte) []string {
	var all []any
	if json.Unmarshal(list, &all) != nil {
		return nil
	}
	var out []string
	for _, v := range all {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// headerTags adds the headers that the operator wants as tags.
func (x *Exchange) headerTags() {
	for _, name := range x.g.terms.TagHeaders {
		if value := headerOf(x.Lines, name); len(value) > 0 {
			x.tag(name + ": " + string(value))
		}
	}
}

// headerOf finds a header's value in lines, by its name in any case.
func headerOf(lines []byte, name string) []byte {
	for len(lines) > 0 {
		var line []byte
		line, lines, _ = bytes.Cut(lines, []byte{'\n'})
		if len(line) > len(name) && line[len(name)] == ':' && strings.EqualFold(view(line[:len(name)]), name) {
			return bytes.TrimSpace(line[len(name)+1:])
		}
	}
	return nil
}

// agentTags adds the program that sends the request, as LiteLLM does: by its
// name, and by name and version. They are for reading: no budget hangs on them.
func (x *Exchange) agentTags() {
	agent := x.Said.Agent
	if !x.g.terms.AgentTag || len(agent) == 0 {
		return
	}
	a := x.g.agents.of(agent)
	for _, t := range a {
		if t != "" && len(x.tagNames) < maxTags {
			x.tagNames = append(x.tagNames, t)
		}
	}
}

// findMetadata finds what the client says about its request, for its spend: the
// header's, else the body's.
func (x *Exchange) findMetadata() {
	x.metadata = nil
	if m := x.Said.Metadata; len(m) > 0 {
		var o jsonscan.Object
		if o.Lenient = true; o.Scan(m) == nil {
			x.metadata = m
		}
	}
	for _, name := range metadataFields {
		if len(x.metadata) > 0 {
			break
		}
		if m := x.Request.Find(name); m != nil && m.Kind == llm.JSONObject {
			x.metadata = m.Value.Of(x.Body)
		}
	}
	if len(x.metadata) > maxMetadata {
		x.manyMetadata, x.metadata = x.metadata, nil
	}
}
