package gateway

import (
	"bytes"
	"strings"
)

// Forward says which of a client's headers go on to providers.
type Forward struct {
	Headers      bool   // x-* and anthropic-beta (forward_client_headers_to_llm_api)
	Organization bool   // OpenAI-Organization (forward_openai_org_id)
	KeyHeader    string // litellm_key_header_name: it carries our key and stays here
}

const (
	organization = "openai-organization"
	maxForwarded = 16 << 10 // bytes of a client's lines
)

// kept are beginnings of x-* names that are not passed on: they are meant for
// the gateway, or tell of the way between the client and us.
var kept = []string{"x-litellm-", "x-stainless-", "x-forwarded-", "x-real-ip", "x-pass-"}

// telling are parts of names that a credential may be behind.
var telling = []string{"key", "token", "auth", "secret", "passw", "cookie", "credential", "signature", "session"}

// head is the head of a call to a deployment: the one made at its binding,
// unless the client's own lines belong into it.
func (g *Gateway) head(x *Exchange, b *binding) []byte {
	f := &g.forward
	if !f.Headers && !f.Organization {
		return b.head
	}
	x.head = append(x.head[:0], b.head...)
	for lines := x.Lines; len(lines) > 0 && len(x.head)-len(b.head) < maxForwarded; {
		var line []byte
		line, lines, _ = bytes.Cut(lines, []byte{'\n'})
		line = bytes.TrimSuffix(line, []byte{'\r'})
		name, _, ok := bytes.Cut(line, []byte{':'})
		if !ok {
			continue
		}
		switch low := strings.ToLower(string(name)); {
		case low == organization:
			if !f.Organization {
				continue
			}
			x.head = cutLine(x.head, low)
		case !f.passes(low) || hasLine(b.head, low):
			continue
		}
		x.head = append(append(x.head, line...), "\r\n"...)
	}
	return x.head
}

// passes says whether a header goes on, by its name in lower case.
func (f *Forward) passes(name string) bool {
	if !f.Headers || name != "anthropic-beta" && !strings.HasPrefix(name, "x-") || strings.EqualFold(name, f.KeyHeader) {
		return false
	}
	for _, k := range kept {
		if strings.HasPrefix(name, k) {
			return false
		}
	}
	for _, t := range telling {
		if strings.Contains(name, t) {
			return false
		}
	}
	return true
}

// lineAt finds a header line of a head by its name in lower case.
func lineAt(head []byte, name string) (from, to int, ok bool) {
	for at := bytes.IndexByte(head, '\n') + 1; at < len(head); {
		end := at + bytes.IndexByte(head[at:], '\n') + 1
		if end-at > len(name) && head[at+len(name)] == ':' && strings.EqualFold(string(head[at:at+len(name)]), name) {
			return at, end, true
		}
		at = end
	}
	return 0, 0, false
}

func hasLine(head []byte, name string) bool {
	_, _, ok := lineAt(head, name)
	return ok
}

func cutLine(head []byte, name string) []byte {
	if from, to, ok := lineAt(head, name); ok {
		return append(head[:from], head[to:]...)
	}
	return head
}
