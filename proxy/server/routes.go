package server

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"

	"sluice/proxy/access"
	"sluice/proxy/dialect"
	"sluice/proxy/llm"
)

// entry is one row of package access's table, and how it is served. {model}
// stands for one or more path segments; what it matched is the call's model.
// Any other {name} stands for one segment.
type entry struct {
	row    *access.Route
	method string
	path   string
	handle func(s *Server, ctx *fasthttp.RequestCtx, c *conn, k *call)
	public bool // no key is asked for
	probe  bool // a health probe: not counted towards recycling
	model  bool // a model call: it has a JSON body and goes through the gateway
	body   bool // it has a JSON body
	speak  dialect.Dialect
}

// edgeTable is how the routes are served that the server answers itself.
func edgeTable() []entry {
	var t []entry
	chat := dialect.OpenAIChat()
	for _, p := range []string{
		"/v1/chat/completions", "/chat/completions",
		"/engines/{model}/chat/completions", "/openai/deployments/{model}/chat/completions",
	} {
		t = append(t, entry{method: "POST", path: p, handle: (*Server).model, model: true, body: true, speak: chat})
	}
	for _, p := range []string{"/v1/models", "/models"} {
		t = append(t, entry{method: "GET", path: p, handle: (*Server).models})
		t = append(t, entry{method: "GET", path: p + "/{model}", handle: (*Server).oneModel})
	}
	for _, p := range []string{"/health/liveliness", "/health/liveness"} {
		t = append(t, entry{method: "GET", path: p, handle: (*Server).liveliness, probe: true})
		t = append(t, entry{method: "OPTIONS", path: p, handle: (*Server).options, probe: true})
	}
	return append(t,
		entry{method: "GET", path: "/health/readiness", handle: (*Server).readiness, probe: true},
		entry{method: "OPTIONS", path: "/health/readiness", handle: (*Server).options, probe: true},
		entry{method: "GET", path: "/health", handle: (*Server).health, probe: true},
		entry{method: "OPTIONS", path: "/health", handle: (*Server).options, probe: true},
		entry{method: "GET", path: "/health/backlog", handle: (*Server).backlog, probe: true},
		entry{method: "GET", path: "/metrics", handle: (*Server).metrics, probe: true},
		entry{method: "GET", path: "/metrics/", handle: (*Server).metrics, probe: true},
		entry{method: "GET", path: "/", handle: (*Server).root, probe: true},
	)
}

// entries pairs the rows of the table with what serves them. It fails where a
// row or a handler has no partner.
func entries(rows []access.Route, edge []entry) ([]entry, error) {
	byName := make(map[string]*entry, len(edge))
	for i := range edge {
		byName[edge[i].method+" "+edge[i].path] = &edge[i]
	}
	out := make([]entry, 0, len(rows))
	for i := range rows {
		r := &rows[i]
		name := r.Method + " " + r.Path
		// What is not served needs no body: the server passes over it.
		e := entry{method: r.Method, path: r.Path, handle: (*Server).manage, body: r.Method != fasthttp.MethodGet && r.Later == ""}
		if r.Edge {
			if byName[name] == nil {
				return nil, fmt.Errorf("server: nothing serves the row %s of the table of routes", name)
			}
			e = *byName[name]
			delete(byName, name)
		}
		e.row, e.public = r, r.Public
		out = append(out, e)
	}
	for name := range byName {
		return nil, fmt.Errorf("server: %s has no row in the table of routes", name)
	}
	return out, nil
}

// place is what lives at one path: its entries by method.
type place struct {
	entries  []entry
	allow    string // the Allow header of a 405
	before   string // of a pattern with {model}: what stands before and after it
	after    string
	segments []string // of any other pattern; "" stands for a parameter
}

// router finds a place. It is immutable.
type router struct {
	prefix   string
	literal  map[string]*place
	patterns []*place         // with {model}
	others   map[int][]*place // by the number of segments
	below    []*place         // whole families of routes: before is what they begin with
}

// newRouter routes the rows; at says at which path one is, "" for nowhere.
func newRouter(rootPath string, rows []access.Route, at func(*access.Route) string) (*router, error) {
	r := &router{prefix: strings.TrimSuffix(rootPath, "/"), literal: map[string]*place{}, others: map[int][]*place{}}
	if r.prefix != "" && r.prefix[0] != '/' {
		r.prefix = "/" + r.prefix
	}
	all, err := entries(rows, edgeTable())
	if err != nil {
		return nil, err
	}
	byPath := map[string]*place{}
	for _, e := range all {
		if e.path = at(e.row); e.path == "" {
			continue
		}
		shape := e.path
		if strings.Contains(shape, "{") && !strings.Contains(shape, "{model}") {
			shape = strings.Join(segmentsOf(shape), "/")
		}
		p := byPath[shape]
		if p == nil {
			p = r.add(e.path)
			byPath[shape] = p
		}
		if p.method([]byte(e.method)) != nil {
			return nil, fmt.Errorf("server: %s %s stands in the table of routes twice", e.method, e.path)
		}
		p.entries = append(p.entries, e)
		if p.allow != "" {
			p.allow += ", "
		}
		p.allow += e.method
	}
	return r, nil
}

// add makes the place of a path.
func (r *router) add(path string) *place {
	p := &place{}
	if family, ok := strings.CutSuffix(path, access.AnyBelow); ok {
		p.before = family
		r.below = append(r.below, p)
		return p
	}
	if before, after, ok := strings.Cut(path, "{model}"); ok {
		p.before, p.after = before, after
		r.patterns = append(r.patterns, p)
		return p
	}
	if !strings.Contains(path, "{") {
		r.literal[path] = p
		return p
	}
	p.segments = segmentsOf(path)
	r.others[len(p.segments)] = append(r.others[len(p.segments)], p)
	return p
}

// segmentsOf cuts a pattern; parameters become "".
func segmentsOf(path string) []string {
	parts := strings.Split(path[1:], "/")
	for i, s := range parts {
		if strings.HasPrefix(s, "{") {
			parts[i] = ""
		}
	}
	return parts
}

// find routes a raw path. Literals are compared undecoded, so that what was
// authorised is what was routed (F13); param is the undecoded {model}. e is nil
// where the place has no such method. The root path may be there or not: some
// balancers strip it, and the appliance asks itself without it.
func (r *router) find(method, path []byte) (p *place, e *entry, param []byte) {
	path = r.strip(path)
	if p = r.literal[string(path)]; p != nil {
		if e = p.method(method); e != nil {
			return p, e, nil
		}
	}
	if !canonical(path) {
		return p, nil, nil
	}
	for _, q := range r.patterns {
		if len(path) > len(q.before)+len(q.after) &&
			string(path[:len(q.before)]) == q.before && string(path[len(path)-len(q.after):]) == q.after {
			return q, q.method(method), path[len(q.before) : len(path)-len(q.after)]
		}
	}
	// A literal path of another method may be a pattern's value too.
	q, e := r.other(method, path)
	switch {
	case e != nil:
		return q, e, nil
	case p != nil:
		return p, nil, nil
	case q != nil:
		return q, nil, nil
	}
	q, e = r.family(path)
	return q, e, nil
}

// family finds the longest of the families that a path belongs to.
func (r *router) family(path []byte) (found *place, e *entry) {
	for _, q := range r.below {
		rest, ok := bytes.CutPrefix(path, []byte(q.before))
		if ok && (len(rest) == 0 || rest[0] == '/') && (found == nil || len(q.before) > len(found.before)) {
			found = q
		}
	}
	if found == nil {
		return nil, nil
	}
	return found, &found.entries[0]
}

// other finds a place among the patterns of one segment each.
func (r *router) other(method, path []byte) (found *place, e *entry) {
	for _, q := range r.others[bytes.Count(path, []byte{'/'})] {
		if !q.matches(path) {
			continue
		}
		if e := q.method(method); e != nil {
			return q, e
		}
		found = q
	}
	return found, nil
}

// strip takes the root path off.
func (r *router) strip(path []byte) []byte {
	if r.prefix == "" {
		return path
	}
	rest, ok := bytes.CutPrefix(path, []byte(r.prefix))
	switch {
	case ok && len(rest) == 0:
		return []byte("/")
	case ok && rest[0] == '/':
		return rest
	}
	return path
}

// matches compares the segments of a path.
func (p *place) matches(path []byte) bool {
	for _, want := range p.segments {
		path = path[1:]
		end := bytes.IndexByte(path, '/')
		if end < 0 {
			end = len(path)
		}
		if want != "" && string(path[:end]) != want || end == 0 {
			return false
		}
		path = path[end:]
	}
	return true
}

// params are the decoded parameters of a path, by their names in the row.
func (e *entry) params(path []byte) (map[string]string, bool) {
	out := map[string]string{}
	got := bytes.Split(path[1:], []byte{'/'})
	for i, want := range strings.Split(e.path[1:], "/") {
		if !strings.HasPrefix(want, "{") {
			continue
		}
		v, ok := unescape(nil, got[i])
		if !ok {
			return nil, false
		}
		out[strings.Trim(want, "{}")] = string(v)
	}
	return out, true
}

// method picks the entry of a method; nil means 405.
func (p *place) method(m []byte) *entry {
	for i := range p.entries {
		if p.entries[i].method == string(m) {
			return &p.entries[i]
		}
	}
	return nil
}

func notFound() *llm.Error {
	return &llm.Error{Kind: llm.KindNotFound, Status: 404, Message: "Not Found", Detail: true}
}

func wrongMethod() *llm.Error {
	return &llm.Error{Kind: llm.KindBadRequest, Status: 405, Message: "Method Not Allowed", Detail: true}
}
