package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"sluice/proxy/access"
)

// specOf is the document as an API without a database serves it.
func specOf(t *testing.T, d Docs) (doc, []byte) {
	t.Helper()
	a, err := New(Config{Docs: d})
	if err != nil {
		t.Fatal(err)
	}
	r := a.Serve(context.Background(), &Request{Route: routeNamed(t, "GET", "/openapi.json")})
	if r.Status != 200 || r.Type != "" {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	var out doc
	if err := json.Unmarshal(r.Body, &out); err != nil {
		t.Fatal(err)
	}
	return out, r.Body
}

func routeNamed(t *testing.T, method, path string) *access.Route {
	t.Helper()
	for _, r := range access.Routes() {
		if r.Method == method && r.Path == path {
			return &r
		}
	}
	t.Fatalf("no row %s %s", method, path)
	return nil
}

// TestOpenAPIIsValid holds the document against the schema that the OpenAPI
// initiative publishes for 3.1, and every schema in it against that of JSON
// Schema 2020-12, which OpenAPI 3.1 uses.
func TestOpenAPIIsValid(t *testing.T) {
	document, raw := specOf(t, Docs{
		Title: "Gateway", Version: "7", Summary: "s", Description: "d", Terms: "https://example.org/terms", RootPath: "/llm/",
		Contact: json.RawMessage(`{"name":"Ops","email":"ops@example.org"}`), License: json.RawMessage(`{"name":"MIT"}`),
	})
	text, err := os.Open("testdata/openapi-3.1-schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = text.Close() }()
	meta, err := jsonschema.UnmarshalJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("https://spec.openapis.org/oas/3.1/schema/2022-10-07", meta); err != nil {
		t.Fatal(err)
	}
	official := c.MustCompile("https://spec.openapis.org/oas/3.1/schema/2022-10-07")
	validate := func(raw []byte) error {
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		return official.Validate(instance)
	}
	if err := validate(raw); err != nil {
		t.Errorf("%v", err)
	}
	if err := validate(bytes.Replace(raw, []byte(`"summary":`), []byte(`"summary":1,"x-was":`), 1)); err == nil {
		t.Error("a broken document is not told from a good one")
	}
	schemas := 0
	walk(document, func(at string, v any) {
		if !strings.HasSuffix(at, "/schema") {
			return
		}
		schemas++
		part := jsonschema.NewCompiler()
		text, _ := json.Marshal(v)
		text = bytes.ReplaceAll(text, []byte(`#/components/`), []byte(`https://api.test/openapi.json#/components/`))
		s, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := part.AddResource("https://api.test/openapi.json", whole); err != nil {
			t.Fatal(err)
		}
		if err := part.AddResource("https://api.test/part", s); err != nil {
			t.Fatal(err)
		}
		if _, err := part.Compile("https://api.test/part"); err != nil {
			t.Errorf("%s: %v", at, err)
		}
	})
	if schemas < 50 {
		t.Errorf("only %d schemas were looked at", schemas)
	}
	if url := document["servers"].([]any)[0].(doc)["url"]; url != "/llm" {
		t.Errorf("server %v", url)
	}
}

// walk calls f for every value of a document.
func walk(v any, f func(at string, v any)) { walkAt("", v, f) }

func walkAt(at string, v any, f func(string, any)) {
	f(at, v)
	switch v := v.(type) {
	case doc:
		for name, child := range v {
			walkAt(at+"/"+name, child, f)
		}
	case []any:
		for _, child := range v {
			walkAt(at, child, f)
		}
	}
}

// TestOpenAPIIsTheTable: what is documented is what is served.
func TestOpenAPIIsTheTable(t *testing.T) {
	document, _ := specOf(t, Docs{})
	paths := document["paths"].(doc)
	n := 0
	for _, r := range access.Routes() {
		item, _ := paths[r.Path].(doc)
		_, there := item[strings.ToLower(r.Method)]
		if want := !r.Hidden && r.Later == ""; there != want {
			t.Errorf("%s %s is documented: %v", r.Method, r.Path, there)
		}
		if there {
			n++
		}
	}
	operations := 0
	for _, item := range paths {
		operations += len(item.(doc))
	}
	if n != operations {
		t.Errorf("%d rows, %d operations", n, operations)
	}
}

func TestHiddenRouters(t *testing.T) {
	_, raw := specOf(t, Docs{Hidden: []string{"Health"}})
	if bytes.Contains(raw, []byte("/health/readiness")) || !bytes.Contains(raw, []byte("/v1/chat/completions")) {
		t.Error("hidden_routers hid nothing, or too much")
	}
}

// TestDocsPage: the page loads nothing, runs nothing and repeats no markup.
func TestDocsPage(t *testing.T) {
	a, err := New(Config{Docs: Docs{Title: "<script>alert(1)</script>", Version: "1"}})
	if err != nil {
		t.Fatal(err)
	}
	r := a.Serve(context.Background(), &Request{Route: routeNamed(t, "GET", "/docs")})
	page := string(r.Body)
	if r.Status != 200 || r.Type != "text/html; charset=utf-8" {
		t.Fatalf("%d %s", r.Status, r.Type)
	}
	for _, bad := range []string{"<script", "src=", "http:", "https:", "javascript:", " style=", " onclick"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	for _, good := range []string{"/v1/chat/completions", "<code>messages</code> <em>required</em>", "&lt;script&gt;"} {
		if !strings.Contains(page, good) {
			t.Errorf("the page lacks %q", good)
		}
	}
	policy := ""
	for _, h := range r.Headers {
		policy = string(h.Name) + ": " + string(h.Value)
	}
	if !strings.HasPrefix(policy, "content-security-policy: default-src 'none'; style-src 'sha256-") {
		t.Errorf("policy %q", policy)
	}
}
