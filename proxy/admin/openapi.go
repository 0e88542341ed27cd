package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"sluice/proxy/access"
)

// Docs says how the API documents itself.
type Docs struct {
	Title       string // app_title; "": Sluice
	Version     string // swagger_version; "": the release
	Summary     string
	Description string
	Terms       string
	Contact     json.RawMessage
	License     json.RawMessage
	Hidden      []string // hidden_routers: families that are served and not documented
	SpecPath    string   // of the OpenAPI document; "": /openapi.json
	RootPath    string   // SERVER_ROOT_PATH
}

// doc is a JSON object that is being written.
type doc = map[string]any

// errorAnswers are the refusals that every route may give, by status.
var errorAnswers = []struct{ status, name, text string }{
	{"400", "BadRequest", "The request is wrong; the message says which field and what is allowed."},
	{"401", "Unauthorized", "No key, an unknown one, or a caller who may not call the route."},
	{"403", "Forbidden", "A known caller who may not do this."},
	{"404", "NotFound", "There is no such object, or the caller may not see it."},
	{"422", "Invalid", "A field is missing or has a wrong type; the list names each."},
	{"503", "Unavailable", "The database is not available; Retry-After says when to try again."},
}

// documented are the routes of the documents, in the order of the table.
func documented(d *Docs, routes []access.Route) []access.Route {
	return slices.DeleteFunc(slices.Clone(routes), func(r access.Route) bool {
		return r.Hidden || r.Later != "" || slices.ContainsFunc(d.Hidden, r.In)
	})
}

// openAPI writes the OpenAPI 3.1 document of the routes.
func openAPI(d *Docs, routes []access.Route) ([]byte, error) {
	paths, ids := doc{}, map[string]bool{}
	var tags []doc
	named := map[string]bool{}
	for _, r := range documented(d, routes) {
		if !named[r.Tag] {
			named[r.Tag] = true
			tags = append(tags, doc{"name": r.Tag})
		}
		item, _ := paths[r.Path].(doc)
		if item == nil {
			item = doc{}
			paths[r.Path] = item
		}
		id := operationID(&r)
		if ids[id] {
			return nil, fmt.Errorf("two routes have the operation id %s", id)
		}
		ids[id] = true
		item[strings.ToLower(r.Method)] = operation(&r, id)
	}
	root := "/" + strings.Trim(d.RootPath, "/")
	return json.Marshal(doc{
		"openapi": "3.1.0", "info": info(d), "servers": []doc{{"url": root}}, "tags": tags, "paths": paths,
		"components": doc{"securitySchemes": securitySchemes(), "schemas": errorSchemas(), "responses": errorResponses()},
		"security":   []doc{{"bearer": []string{}}, {"apiKey": []string{}}, {"azureKey": []string{}}, {"googleKey": []string{}}, {"litellmKey": []string{}}},
	})
}

func info(d *Docs) doc {
	out := doc{"title": d.title(), "version": d.version()}
	for name, text := range map[string]string{"summary": d.Summary, "description": d.Description, "termsOfService": d.Terms} {
		if text != "" {
			out[name] = text
		}
	}
	if len(d.Contact) > 0 {
		out["contact"] = d.Contact
	}
	if len(d.License) > 0 {
		out["license"] = d.License
	}
	return out
}

func (d *Docs) title() string {
	if d.Title == "" {
		return "Sluice"
	}
	return d.Title
}

func (d *Docs) version() string {
	if d.Version == "" {
		return "dev"
	}
	return d.Version
}

func securitySchemes() doc {
	header := func(name string) doc { return doc{"type": "apiKey", "in": "header", "name": name} }
	return doc{
		"bearer":   doc{"type": "http", "scheme": "bearer", "description": "A virtual key or the master key."},
		"apiKey":   header("x-api-key"),
		"azureKey": header("api-key"), "googleKey": header("x-goog-api-key"), "litellmKey": header("x-litellm-api-key"),
	}
}

// operationID is the name of a route in generated clients: the method and the
// words of the path.
func operationID(r *access.Route) string {
	words := strings.FieldsFunc(r.Path, func(c rune) bool { return strings.ContainsRune("/{}-_.", c) })
	id := strings.ToLower(r.Method)
	for _, w := range words {
		id += strings.ToUpper(w[:1]) + w[1:]
	}
	return id
}

// pathParams are the names in the path of a route.
func pathParams(path string) []string {
	var out []string
	for _, part := range strings.Split(path, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		out = append(out, name)
	}
	return out
}

func operation(r *access.Route, id string) doc {
	op := doc{"operationId": id, "summary": r.Summary, "tags": []string{r.Tag}}
	var params []doc
	for _, name := range pathParams(r.Path) {
		params = append(params, doc{"name": name, "in": "path", "required": true, "schema": doc{"type": "string"}})
	}
	for i := range r.Query {
		f := &r.Query[i]
		p := doc{"name": f.Name, "in": "query", "schema": schema(f, false)}
		if f.Required {
			p["required"] = true
		}
		if f.Summary != "" {
			p["description"] = f.Summary
		}
		params = append(params, p)
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	if len(r.Body) > 0 {
		op["requestBody"] = doc{
			"required": slices.ContainsFunc(r.Body, func(f access.Field) bool { return f.Required }),
			"content":  doc{"application/json": doc{"schema": bodySchema(r.Body)}},
		}
	}
	answers := doc{"200": doc{"description": http.StatusText(http.StatusOK), "content": doc{"application/json": doc{"schema": doc{}}}}}
	for _, e := range errorAnswers {
		switch {
		case e.status == "422" && len(r.Body)+len(r.Query) == 0, e.status == "404" && len(params)+len(r.Body) == 0, r.Public && e.status < "500":
			continue
		}
		answers[e.status] = doc{"$ref": "#/components/responses/" + e.name}
	}
	op["responses"] = answers
	if r.Public {
		op["security"] = []doc{}
	}
	return op
}

func bodySchema(fields []access.Field) doc {
	properties, required := doc{}, []string(nil)
	for i := range fields {
		f := &fields[i]
		properties[f.Name] = schema(f, !f.Required)
		if f.Required {
			required = append(required, f.Name)
		}
	}
	out := doc{"type": "object", "properties": properties}
	if required != nil {
		out["required"] = required
	}
	return out
}

// schema is the JSON schema of a field. Optional fields of a body may be null.
func schema(f *access.Field, nullable bool) doc {
	out := typeSchema(f)
	if kind, ok := out["type"].(string); ok && nullable {
		out["type"] = []string{kind, "null"}
	}
	if len(f.Enum) > 0 {
		values := make([]any, 0, len(f.Enum)+1)
		for _, v := range f.Enum {
			values = append(values, v)
		}
		if nullable {
			values = append(values, nil)
		}
		out["enum"] = values
	}
	if f.Minimum != nil {
		out["minimum"] = *f.Minimum
	}
	if f.Maximum != nil {
		out["maximum"] = *f.Maximum
	}
	text := f.Summary
	if f.AdminOnly {
		text = strings.TrimSpace(text + " Proxy admins alone.")
	}
	if text != "" {
		out["description"] = text
	}
	return out
}

func typeSchema(f *access.Field) doc {
	switch f.Type {
	case access.String:
		return doc{"type": "string"}
	case access.Integer:
		return doc{"type": "integer"}
	case access.Number:
		return doc{"type": "number"}
	case access.Boolean:
		return doc{"type": "boolean"}
	case access.StringList:
		return doc{"type": "array", "items": doc{"type": "string"}}
	case access.Object:
		return doc{"type": "object"}
	case access.ObjectList:
		return doc{"type": "array", "items": doc{"type": "object"}}
	case access.ObjectOrList:
		return doc{"anyOf": []doc{{"type": "object"}, {"type": "array", "items": doc{"type": "object"}}, {"type": "null"}}}
	case access.StringMap:
		return doc{"type": "object", "additionalProperties": doc{"type": "string"}}
	case access.Money:
		return doc{"type": "number", "minimum": 0}
	case access.Duration:
		return doc{"type": "string", "examples": []string{"30d"}}
	case access.Time:
		return doc{"type": "string", "format": "date-time"}
	}
	return doc{}
}

// errorSchemas are the three shapes of a refusal.
func errorSchemas() doc {
	text := doc{"type": "string"}
	return doc{
		"Error": doc{
			"type": "object", "required": []string{"error"},
			"properties": doc{"error": doc{
				"type": "object", "required": []string{"message", "type", "param", "code"},
				"properties": doc{"message": text, "type": text, "param": doc{"type": []string{"string", "null"}}, "code": text},
			}},
		},
		"Detail": doc{"type": "object", "required": []string{"detail"}, "properties": doc{"detail": doc{}}},
		"Violations": doc{
			"type": "object", "required": []string{"detail"},
			"properties": doc{"detail": doc{"type": "array", "items": doc{
				"type": "object", "required": []string{"type", "loc", "msg"},
				"properties": doc{"type": text, "msg": text, "loc": doc{"type": "array", "items": doc{"anyOf": []doc{text, {"type": "integer"}}}}},
			}}},
		},
	}
}

func errorResponses() doc {
	out := doc{}
	ref := func(name string) doc { return doc{"$ref": "#/components/schemas/" + name} }
	for _, e := range errorAnswers {
		shape := doc{"anyOf": []doc{ref("Error"), ref("Detail")}}
		if e.status == "422" {
			shape = ref("Violations")
		}
		answer := doc{"description": e.text, "content": doc{"application/json": doc{"schema": shape}}}
		if e.status == "503" {
			answer["headers"] = doc{"Retry-After": doc{"description": "Seconds.", "schema": doc{"type": "integer"}}}
		}
		out[e.name] = answer
	}
	return out
}
