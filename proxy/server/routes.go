package server

import (
	"bytes"
	"strings"

	"github.com/valyala/fasthttp"

	"sluice/proxy/dialect"
	"sluice/proxy/llm"
)

// entry is one row of the route table. {model} stands for one or more path
// segments; what it matched is the call's model.
type entry struct {
	method string
	path   string
	handle func(s *Server, ctx *fasthttp.RequestCtx, c *conn, k *call)
	public bool // no key is asked for
	probe  bool // a health probe: not counted towards recycling
	model  bool // a model call: it has a JSON body and goes through the gateway
	speak  dialect.Dialect
}

// routeTable is every route of the proxy port.
func routeTable() []entry {
	var t []entry
	chat := dialect.OpenAIChat()
	for _, p := range []string{
		"/v1/chat/completions", "/chat/completions",
		"/engines/{model}/chat/completions", "/openai/deployments/{model}/chat/completions",
	} {
		t = append(t, entry{method: "POST", path: p, handle: (*Server).model, model: true, speak: chat})
	}
	for _, p := range []string{"/v1/models", "/models"} {
		t = append(t, entry{method: "GET", path: p, handle: (*Server).models})
		t = append(t, entry{method: "GET", path: p + "/{model}", handle: (*Server).oneModel})
	}
	for _, p := range []string{"/health/liveliness", "/health/liveness"} {
		t = append(t, entry{method: "GET", path: p, handle: (*Server).liveliness, public: true, probe: true})
		t = append(t, entry{method: "OPTIONS", path: p, handle: (*Server).options, public: true, probe: true})
	}
	return append(t,
		entry{method: "GET", path: "/health/readiness", handle: (*Server).readiness, public: true, probe: true},
		entry{method: "OPTIONS", path: "/health/readiness", handle: (*Server).options, public: true, probe: true},
		entry{method: "GET", path: "/health", handle: (*Server).health, probe: true},
		entry{method: "OPTIONS", path: "/health", handle: (*Server).options, public: true, probe: true},
		entry{method: "GET", path: "/health/backlog", handle: (*Server).backlog, probe: true},
		entry{method: "GET", path: "/metrics", handle: (*Server).metrics, public: true, probe: true},
		entry{method: "GET", path: "/metrics/", handle: (*Server).metrics, public: true, probe: true},
		entry{method: "GET", path: "/", handle: (*Server).root, public: true, probe: true},
	)
}

// place is what lives at one path: its entries by method.
type place struct {
	entries []entry
	allow   string // the Allow header of a 405
	before  string // of a pattern: what stands before and after {model}
	after   string
}

// router finds a place. It is immutable.
type router struct {
	prefix   string
	literal  map[string]*place
	patterns []*place
}

func newRouter(rootPath string) *router {
	r := &router{prefix: strings.TrimSuffix(rootPath, "/"), literal: map[string]*place{}}
	if r.prefix != "" && r.prefix[0] != '/' {
		r.prefix = "/" + r.prefix
	}
	byPath := map[string]*place{}
	for _, e := range routeTable() {
		p := byPath[e.path]
		if p == nil {
			p = &place{}
			byPath[e.path] = p
			if before, after, ok := strings.Cut(e.path, "{model}"); ok {
				p.before, p.after = before, after
				r.patterns = append(r.patterns, p)
			} else {
				r.literal[e.path] = p
			}
		}
		p.entries = append(p.entries, e)
		if p.allow != "" {
			p.allow += ", "
		}
		p.allow += e.method
	}
	return r
}

// find routes a raw path. Literals are compared undecoded, so that what was
// authorised is what was routed (F13); param is the undecoded {model}. The root
// path may be there or not: some balancers strip it, and the appliance asks
// itself without it.
func (r *router) find(path []byte) (p *place, param []byte) {
	if r.prefix != "" {
		if rest, ok := bytes.CutPrefix(path, []byte(r.prefix)); ok && len(rest) == 0 {
			path = []byte("/")
		} else if ok && rest[0] == '/' {
			path = rest
		}
	}
	if p := r.literal[string(path)]; p != nil {
		return p, nil
	}
	if !canonical(path) {
		return nil, nil
	}
	for _, p := range r.patterns {
		if len(path) > len(p.before)+len(p.after) &&
			string(path[:len(p.before)]) == p.before && string(path[len(path)-len(p.after):]) == p.after {
			return p, path[len(p.before) : len(path)-len(p.after)]
		}
	}
	return nil, nil
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
