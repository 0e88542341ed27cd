package provider

import (
	"errors"
	"strings"

	"sluice/proxy/llm"
)

// openai is the adapter of everything that speaks OpenAI's chat completions:
// the client's bytes go through, and a vendor's differences are columns of its
// row.
type openai struct {
	name    string   // prefix
	base    string   // default base URL; {region} stands for the AWS region
	bases   []string // variables that hold a base URL, tried before base
	keys    []string // variables that hold the key
	keyless bool     // the key may be missing
	header  string   // carries the key bare; "" means Authorization: Bearer
	path    string   // "" means /chat/completions
	prefix  string   // put before model names that have no slash

	rename   []pair    // parameters of another name here
	drop     []string  // parameters that the vendor refuses
	byModel  []quirk   // what only some models want
	sendWith []envLine // header lines with a value from the environment
	noUsage  bool      // refuses stream_options; sends usage in streams unasked
}

var _ Adapter = (*openai)(nil)

type pair struct{ from, to string }

// quirk renames parameters for models whose names start in a certain way.
type quirk struct {
	models []string
	rename []pair
}

type envLine struct{ header, variable string }

const chatPath = "/chat/completions"

func init() {
	for i := range vendors {
		register(vendors[i].name, &vendors[i])
	}
}

func first(lookup Lookup, names []string) string {
	for _, n := range names {
		if v := lookup(n); v != "" {
			return v
		}
	}
	return ""
}

func (v *openai) keyOf(lookup Lookup) string { return first(lookup, v.keys) }

func (v *openai) baseOf(lookup Lookup) string {
	if b := first(lookup, v.bases); b != "" {
		return b
	}
	if !strings.Contains(v.base, "{region}") {
		return v.base
	}
	region := first(lookup, []string{"AWS_REGION_NAME", "AWS_REGION"})
	if region == "" {
		region = "us-east-1"
	}
	return strings.ReplaceAll(v.base, "{region}", region)
}

// Bind implements Adapter.
func (v *openai) Bind(p *Params, lookup Lookup, t *Target) error {
	base := p.APIBase
	if base == "" {
		base = v.baseOf(lookup)
	}
	if base == "" && p.Mock == nil {
		return errors.New("api_base is needed; it can be set by " + strings.Join(v.bases, " or "))
	}
	base, query, _ := strings.Cut(base, "?")
	t.BaseURL = strings.TrimRight(base, "/")
	if t.Path = v.path; t.Path == "" {
		t.Path = chatPath
	}
	// People write the whole URL of the endpoint too.
	t.BaseURL = strings.TrimSuffix(t.BaseURL, t.Path)
	if query == "" && p.APIVersion != "" {
		query = "api-version=" + p.APIVersion
	}
	if query != "" {
		t.Path += "?" + query
	}
	if strings.ContainsAny(t.Path, " \r\n\t#") {
		return errors.New("api_base holds characters that no URL may hold")
	}
	if v.prefix != "" && !strings.Contains(t.Model, "/") {
		t.Model = v.prefix + t.Model
	}
	t.noUsage = t.noUsage || v.noUsage
	t.refused = v.drop
	v.credential(p, lookup, t)
	for _, l := range v.sendWith {
		if value := lookup(l.variable); value != "" {
			t.Headers = append(t.Headers, Header{l.header, value})
		}
	}
	if p.Organization != "" {
		t.Headers = append(t.Headers, Header{"OpenAI-Organization", p.Organization})
	}
	return nil
}

// credential adds the line that carries the key.
func (v *openai) credential(p *Params, lookup Lookup, t *Target) {
	key := p.APIKey
	if key == "" {
		key = v.keyOf(lookup)
	}
	if key == "" {
		if !v.keyless && len(v.keys) > 0 {
			t.Missing = "no api_key is configured for it and " + strings.Join(v.keys, " or ") + " is not set"
		}
		return
	}
	t.secrets = append(t.secrets, key)
	if v.header != "" {
		t.Headers = append(t.Headers, Header{v.header, key})
		return
	}
	t.Headers = append(t.Headers, Header{"Authorization", "Bearer " + key})
}

var (
	usageMember  = []byte(`"stream_options":{"include_usage":true},`)
	usageInside  = []byte(`"include_usage":true,`)
	usageOnly    = []byte(`"include_usage":true`)
	usageOptions = []byte(`{"include_usage":true}`)
	wordTrue     = []byte("true")
)

// Pass implements Adapter.
func (v *openai) Pass(req *llm.Request, t *Target, model []byte, edits []llm.Edit) []llm.Edit {
	start := llm.Span{From: req.Open + 1, To: req.Open + 1}
	if req.ModelValue.Present() {
		edits = append(edits, llm.Edit{Span: req.ModelValue, With: model})
	} else {
		edits = append(edits, llm.Edit{Span: start, With: modelKey},
			llm.Edit{Span: start, With: model}, llm.Edit{Span: start, With: comma})
	}
	if req.Stream && !req.IncludeUsage && !t.noUsage {
		edits = append(edits, askUsage(req, start))
	}
	return v.adjust(req, t, model, start, edits)
}

var (
	modelKey = []byte(`"model":`)
	comma    = []byte(",")
)

// askUsage asks for the usage chunk of a stream where the client did not.
func askUsage(req *llm.Request, start llm.Span) llm.Edit {
	switch {
	case !req.StreamOptions.Present():
		return llm.Edit{Span: start, With: usageMember}
	case req.StreamOptionsKind != llm.JSONObject:
		return llm.Edit{Span: req.StreamOptions, With: usageOptions}
	case req.IncludeUsageValue.Present():
		return llm.Edit{Span: req.IncludeUsageValue, With: wordTrue}
	}
	inside := llm.Span{From: req.StreamOptions.From + 1, To: req.StreamOptions.From + 1}
	if req.StreamOptionsSize == 0 {
		return llm.Edit{Span: inside, With: usageOnly}
	}
	return llm.Edit{Span: inside, With: usageInside}
}
