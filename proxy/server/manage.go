package server

import (
	"bytes"
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"sluice/proxy/access"
	"sluice/proxy/admin"
	"sluice/proxy/llm"
)

// Manager answers management calls. It is called from many goroutines and keeps
// nothing of a request.
type Manager interface {
	Serve(ctx context.Context, r *admin.Request) admin.Reply
}

// manage is one management call: whatever the table has that the server does
// not answer itself. Nothing of fasthttp's memory reaches the manager.
func (s *Server) manage(ctx *fasthttp.RequestCtx, c *conn, k *call) {
	if k.entry.body {
		if e := s.readBody(ctx, c, k); e != nil {
			s.refuse(ctx, c, k, e)
			return
		}
	} else {
		k.body = k.body[:0]
	}
	if k.rules.Manager == nil {
		s.refuse(ctx, c, k, &llm.Error{
			Kind: llm.KindUnavailable, RetryAfter: time.Second, Message: "The management API is starting.",
		})
		return
	}
	c.become(phaseWork, s.clock.coarse.Load(), 0)
	reply := k.rules.Manager.Serve(context.Background(), &admin.Request{
		Route: k.entry.row, Params: k.params, Query: queryOf(ctx.Request.Header.RequestURI()),
		Body: bytes.Clone(k.body), Caller: &k.x.Caller,
		ID: string(k.x.ID[:]), Remote: string(k.remote), ChangedBy: headerText(k.head.changedBy), Reason: headerText(k.head.reason),
	})
	k.x.Err, k.x.Status = reply.Err, reply.Status
	r := &ctx.Response
	r.SetStatusCode(reply.Status)
	r.Header.SetContentType(jsonType)
	if reply.Type != "" {
		r.Header.SetContentType(reply.Type)
	}
	s.standard(ctx, k)
	for _, h := range reply.Headers {
		r.Header.SetCanonical(h.Name, h.Value)
	}
	r.SetBody(reply.Body)
	c.become(phaseWrite, s.clock.coarse.Load(), 0)
	s.end(c, k)
}

// queryOf reads the parameters of a target. What is no pair is left out.
func queryOf(target []byte) url.Values {
	_, query, _ := bytes.Cut(target, []byte{'?'})
	v, err := url.ParseQuery(string(query))
	if err != nil && v == nil {
		return url.Values{}
	}
	return v
}

// headerText is a header's value as it may be stored: text, and not too long.
func headerText(v []byte) string {
	const most = 512
	if len(v) > most {
		v = v[:most]
	}
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return -1
		}
		return r
	}, string(v)), "")
}

// disabled says whether a route is switched off: it answers as if it were not
// there.
func (r *Rules) disabled(row *access.Route) bool {
	return slices.ContainsFunc(r.Disabled, row.In)
}

// at is the path of a row of the table; "" for one that is not served.
func (c *Config) at(row *access.Route) string {
	switch {
	case row.Tag != access.TagDocs:
		return row.Path
	case row.Path == "/docs":
		return c.DocsPath
	default:
		return c.SpecPath
	}
}
