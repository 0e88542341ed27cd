package server

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"sluice/supervisor/fleet"
)

func (s *Server) liveliness(ctx *fasthttp.RequestCtx, c *conn, k *call) {
	s.writeJSON(ctx, c, k, 200, []byte(`"I'm alive!"`))
}

func (s *Server) options(ctx *fasthttp.RequestCtx, c *conn, k *call) {
	s.writeJSON(ctx, c, k, 200, nil)
}

func (s *Server) root(ctx *fasthttp.RequestCtx, c *conn, k *call) {
	if s.c.RootURL != "" {
		ctx.Response.Header.Set("Location", s.c.RootURL)
		s.write(ctx, c, k, 307, "text/plain; charset=utf-8", nil)
		return
	}
	s.writeJSON(ctx, c, k, 200, []byte(`"Sluice: RUNNING"`))
}

// journalFullFor is how long it is believed that the journal is full: it is said
// twice a second while it is.
const journalFullFor = 3 * time.Second

// readiness is this host's ability to take traffic, from the host table alone:
// no probe does work.
func (s *Server) readiness(ctx *fasthttp.RequestCtx, c *conn, k *call) {
	h := s.c.Table.Header()
	state := fleet.State(h.State.Load())
	database := fleet.Dependency(h.Database.Load())
	redis := fleet.Dependency(h.Redis.Load())
	status, code := "healthy", 200
	if database == fleet.DependencyDown || redis == fleet.DependencyDown || redis == fleet.DependencyUnsupported || redis == fleet.DependencyUnusable || database == fleet.DependencyUnsupported {
		status = "degraded"
	}
	switch {
	case state == fleet.StateDraining || state == fleet.StateStopping:
		status, code = "draining", 503
	case state == fleet.StateStarting:
		status, code = "starting", 503
	case h.NeedsDatabase.Load() == 1 && h.DatabaseUp.Load() == 0:
		status, code = "starting", 503
	case h.JournalFull.Load() != 0 && fleet.Now()-h.JournalFull.Load() < int64(journalFullFor):
		status, code = "journal_full", 503
	}
	b := append([]byte(nil), `{"status":"`...)
	b = append(b, status...)
	b = append(b, `","db":"`...)
	b = append(b, dependencyName(database)...)
	b = append(b, `","redis":"`...)
	b = append(b, dependencyName(redis)...)
	b = append(b, `","litellm_version":`...)
	b = appendQuoted(b, s.c.Version)
	b = append(b, '}')
	s.writeJSON(ctx, c, k, code, b)
}

// dependencyName is how LiteLLM says it.
func dependencyName(d fleet.Dependency) string {
	switch d {
	case fleet.DependencyConnected:
		return "connected"
	case fleet.DependencyDown:
		return "disconnected"
	case fleet.DependencyUnsupported:
		return "unsupported"
	case fleet.DependencyUnusable:
		return "unusable"
	}
	return "Not connected"
}

// health lists the models that are served. No call is made to a provider.
func (s *Server) health(ctx *fasthttp.RequestCtx, c *conn, k *call) {
	b := append([]byte(nil), `{"healthy_endpoints":[`...)
	n := 0
	for _, m := range k.g.ModelsOf(&k.x) {
		if m.Wildcard {
			continue
		}
		if n++; n > 1 {
			b = append(b, ',')
		}
		b = append(b, `{"model":`...)
		b = appendQuoted(b, m.ID)
		b = append(b, '}')
	}
	b = append(b, `],"unhealthy_endpoints":[],"healthy_count":`...)
	b = strconv.AppendInt(b, int64(n), 10)
	b = append(b, `,"unhealthy_count":0}`...)
	s.writeJSON(ctx, c, k, 200, b)
}

// backlog is the number of requests in flight on the host.
func (s *Server) backlog(ctx *fasthttp.RequestCtx, c *conn, k *call) {
	var n int64
	for i := range s.c.Table.Areas() {
		if g := s.c.Table.Generation(i); g.Number.Load() != 0 {
			n += g.InFlight.Load()
		}
	}
	b := strconv.AppendInt([]byte(`{"in_flight_requests":`), n, 10)
	s.writeJSON(ctx, c, k, 200, append(b, '}'))
}
