package admin

import (
	"crypto/sha256"
	_ "embed" // the page's style
	"encoding/base64"
	"html"
	"strconv"
	"strings"

	"sluice/proxy/access"
	"sluice/proxy/llm"
)

//go:embed docs.css
var docsStyle string

// docsHandlers are the handlers of the documents about the API.
func docsHandlers() map[string]handler {
	return map[string]handler{
		"GET /openapi.json": (*API).openAPI,
		"GET /docs":         (*API).docs,
	}
}

// openAPI answers with the OpenAPI document, which is written at its first use.
func (a *API) openAPI(*Call) (any, *llm.Error) {
	text, err := a.spec()
	if err != nil {
		return nil, a.failed(err)
	}
	return Reply{Body: text}, nil
}

// docs answers with a page for people. It holds no script and loads nothing.
func (a *API) docs(*Call) (any, *llm.Error) {
	sum := sha256.Sum256([]byte(docsStyle))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return Reply{
		Type: "text/html; charset=utf-8", Body: page(&a.c.Docs, access.Routes()),
		Headers: []llm.Field{{Name: []byte("content-security-policy"), Value: []byte(policy)}},
	}, nil
}

// page writes the page: the routes by tag, each folded.
func page(d *Docs, routes []access.Route) []byte {
	var b strings.Builder
	write := func(parts ...string) {
		for _, p := range parts {
			b.WriteString(p)
		}
	}
	title := html.EscapeString(d.title())
	shown := documented(d, routes)
	var tags []string
	byTag := map[string][]access.Route{}
	for _, r := range shown {
		if byTag[r.Tag] == nil {
			tags = append(tags, r.Tag)
		}
		byTag[r.Tag] = append(byTag[r.Tag], r)
	}
	write("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>", title,
		"</title><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>", docsStyle, "</style></head><body><nav aria-label=\"Contents\">")
	for i, tag := range tags {
		write(`<a href="#t`, strconv.Itoa(i), `">`, html.EscapeString(tag), "</a>")
	}
	write("</nav><main><h1>", title, " <small>", html.EscapeString(d.version()), "</small></h1>")
	for _, text := range []string{d.Summary, d.Description} {
		if text != "" {
			write("<p>", html.EscapeString(text), "</p>")
		}
	}
	spec := d.SpecPath
	if spec == "" {
		spec = "/openapi.json"
	}
	root := strings.TrimSuffix("/"+strings.Trim(d.RootPath, "/"), "/")
	write("<p>Send a key as <code>Authorization: Bearer sk-…</code>. The same as <a href=\"", html.EscapeString(root+spec), "\">OpenAPI 3.1</a>.</p>")
	for i, tag := range tags {
		write(`<h2 id="t`, strconv.Itoa(i), `">`, html.EscapeString(tag), "</h2>")
		for _, r := range byTag[tag] {
			pageRoute(write, &r)
		}
	}
	write("</main></body></html>\n")
	return []byte(b.String())
}

func pageRoute(write func(...string), r *access.Route) {
	write("<details><summary><b class=\"", r.Method, "\">", r.Method, "</b> <code>", html.EscapeString(r.Path), "</code> <span>",
		html.EscapeString(r.Summary), "</span></summary><div>")
	switch {
	case r.Public:
		write("<p>No key is asked for.</p>")
	case len(r.Actions) > 0:
		write("<p>Who may: ")
		for i, a := range r.Actions {
			if i > 0 {
				write("; ")
			}
			write(html.EscapeString(mayOf(a)))
		}
		write(".</p>")
	}
	params := pathParams(r.Path)
	if len(params)+len(r.Query)+len(r.Body) == 0 {
		write("<p>It takes no parameters.</p></div></details>")
		return
	}
	write("<table><thead><tr><th>Name</th><th>In</th><th>Type</th><th></th></tr></thead><tbody>")
	for _, name := range params {
		write("<tr><td><code>", html.EscapeString(name), "</code> <em>required</em></td><td>path</td><td>text</td><td></td></tr>")
	}
	for i := range r.Query {
		pageField(write, &r.Query[i], "query")
	}
	for i := range r.Body {
		pageField(write, &r.Body[i], "body")
	}
	write("</tbody></table></div></details>")
}

// mayOf lists the callers whom an action is open to.
func mayOf(a access.Action) string {
	var who []string
	for c := range access.Columns {
		if a.Open(c) {
			who = append(who, c.String())
		}
	}
	return a.String() + ": " + strings.Join(who, ", ")
}

var typeNames = map[access.Type]string{
	access.Any: "any", access.String: "text", access.Integer: "whole number", access.Number: "number", access.Boolean: "true or false",
	access.StringList: "list of texts", access.Object: "object", access.ObjectList: "list of objects", access.ObjectOrList: "object or list of objects",
	access.StringMap: "map of texts", access.Money: "dollars", access.Duration: "duration, such as 30d", access.Time: "time, RFC 3339",
}

func pageField(write func(...string), f *access.Field, in string) {
	write("<tr><td><code>", html.EscapeString(f.Name), "</code>")
	if f.Required {
		write(" <em>required</em>")
	}
	write("</td><td>", in, "</td><td>")
	if len(f.Enum) > 0 {
		write(html.EscapeString(strings.Join(f.Enum, " | ")))
	} else {
		write(typeNames[f.Type])
	}
	if f.Minimum != nil {
		write(", at least ", strconv.FormatInt(*f.Minimum, 10))
	}
	if f.Maximum != nil {
		write(", at most ", strconv.FormatInt(*f.Maximum, 10))
	}
	write("</td><td>", html.EscapeString(f.Summary))
	if f.AdminOnly {
		write(" <em>proxy admins alone</em>")
	}
	write("</td></tr>")
}
