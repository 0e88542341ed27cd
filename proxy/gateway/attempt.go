package gateway

import (
	"errors"
	"strconv"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
	"sluice/proxy/provider"
	"sluice/proxy/route"
	"sluice/proxy/upstream"
)

// attempts tries the plan's deployments until one answers. A call is repeated
// only while nothing has gone to the client (rule R2).
func (g *Gateway) attempts(x *Exchange) (*Answer, *llm.Error) {
	retries := x.plan.Retries
	if x.Request.Retries >= 0 {
		retries = min(x.Request.Retries, 10)
	}
	passed := 0            // deployments that had no room, in a row
	var soonest *llm.Error // of what they said
	for i, tries := 0, 0; ; i++ {
		d := x.plan.Deployments[i%len(x.plan.Deployments)]
		x.Deployment = d
		a, err := g.try(x, d)
		if err == nil {
			return a, nil
		}
		if gone := x.canceled(); gone != nil {
			return nil, gone
		}
		if noRoom(err) { // nobody was called: another one may have room
			soonest = sooner(soonest, err)
			if passed++; passed >= len(x.plan.Deployments) {
				return nil, soonest
			}
			continue
		}
		passed, soonest = 0, nil
		_ = x.end(bill.StatusFailure, err) // what cannot be written is counted
		g.metrics.attemptFailed(x, err)
		if tries >= retries || final(err) || !retryable(err) && !g.elsewhere(x, i, err) || x.g.now() >= x.deadline || !x.plan.Group.Retry() {
			x.failureHeaders()
			return nil, err
		}
		if gone := x.pause(i, len(x.plan.Deployments), err.RetryAfter); gone != nil {
			return nil, gone
		}
		tries++
	}
}

// noRoom says whether a deployment was not called because of its own limits or
// budget.
func noRoom(err *llm.Error) bool {
	return errors.Is(err.Err, errFull) || errors.Is(err.Err, errElsewhere)
}

// sooner is which of two refusals of that kind says when to come again, and the
// earlier one: there is room when the first deployment has some.
func sooner(a, b *llm.Error) *llm.Error {
	if a == nil || b.RetryAfter > 0 && (a.RetryAfter <= 0 || b.RetryAfter < a.RetryAfter) {
		return b
	}
	return a
}

// final says whether an error is about the caller's budget or our own state: no
// other deployment helps.
func final(err *llm.Error) bool { return err.Type == "budget_exceeded" }

// retryable says whether another try may help.
func retryable(err *llm.Error) bool {
	switch err.Kind {
	case llm.KindConnection, llm.KindTimeout, llm.KindRateLimit, llm.KindUpstream, llm.KindProtocol:
		return true
	default:
		return err.Status == 409
	}
}

// elsewhere reports whether the next deployment is untried and has another
// credential: what one account is refused may be open to another (row E13).
func (g *Gateway) elsewhere(x *Exchange, i int, err *llm.Error) bool {
	if err.Kind != llm.KindAuth && err.Kind != llm.KindForbidden || i+1 >= len(x.plan.Deployments) || x.Request.Credential != "" {
		return false
	}
	this, next := x.plan.Deployments[i], x.plan.Deployments[i+1]
	return g.bindings[this.Index].target.Identity() != g.bindings[next.Index].target.Identity()
}

// Waiting between tries of the same deployment.
const (
	pauseFirst = 500 * time.Millisecond
	pauseMost  = 8 * time.Second
	pauseAsked = 10 * time.Second // the longest Retry-After that is waited for
)

// pause waits before try i+1. While another deployment has not been tried, it
// does not.
func (x *Exchange) pause(i, deployments int, asked time.Duration) *llm.Error {
	if i+1 < deployments {
		return nil
	}
	wait := min(pauseFirst<<min(i, 5), pauseMost)
	wait = wait/4 + time.Duration(x.g.rand(uint64(wait)*3/4))
	if asked > 0 {
		wait = min(asked, pauseAsked)
	}
	wait = max(wait, x.g.retryAfter)
	return x.wait(min(wait, time.Duration(max(x.deadline-x.g.now(), 0))))
}

// wait lets time pass; the error is that of an exchange that was cut short
// meanwhile.
func (x *Exchange) wait(wait time.Duration) *llm.Error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-x.wake:
		return x.canceled()
	}
}

// try makes one call to one deployment, up to an answer that can be written.
func (g *Gateway) try(x *Exchange, d *route.Deployment) (*Answer, *llm.Error) {
	b := g.bindings[d.Index]
	if x.Request.Credential != "" {
		own, err := b.client.bind(x, b)
		if err != nil {
			return nil, err
		}
		b = own
	}
	t := b.target
	x.Header, x.scratch = x.Header[:0], x.scratch[:0]
	if t.Missing != "" {
		return nil, &llm.Error{
			Kind: llm.KindAuth, Status: 401, Type: "authentication_error",
			Message: "litellm.AuthenticationError: model group '" + d.Group + "' cannot be called: the gateway has no key for its provider.",
			Err:     missingError(t.Missing),
		}
	}
	if e := t.Unsupported(&x.Request); e != nil {
		return nil, e
	}
	x.began = g.now()
	x.Usage, x.FirstByte, x.cited = llm.Usage{}, 0, false
	model, name := x.names(b, d)
	if err := g.begin(x, b, model); err != nil {
		return nil, err
	}
	mock := t.Mock
	if x.Request.Mock != nil {
		mock = provider.NewMock(string(x.Request.Mock))
	}
	if mock != nil || x.Request.Test.Timeout {
		return g.mocked(x, b, name, mock, model)
	}
	x.edits = t.Pass(&x.Request, model, x.edits[:0])
	if x.capped > 0 {
		x.edits = t.Cap(&x.Request, model, x.digits(x.capped), x.edits)
	}
	jsonscan.Sort(x.edits)
	x.pieces = jsonscan.Splice(x.pieces[:0], x.Body, x.edits)
	x.call = upstream.Call{Head: g.head(x, b), Body: x.pieces, Timeouts: g.timeouts(x, d), Again: x}
	resp, err := b.endpoint.Do(&x.call, &x.handle)
	if err != nil {
		x.UpstreamNanos += g.now() - x.began
		return nil, x.broke(err)
	}
	x.open = resp
	return g.received(x, b, name, resp)
}

// digits writes a number to the scratch.
func (x *Exchange) digits(n int64) []byte {
	from := len(x.scratch)
	x.scratch = strconv.AppendInt(x.scratch, n, 10)
	return x.scratch[from:len(x.scratch):len(x.scratch)]
}

// names gives the provider's name of the model, as JSON and with its prefix.
func (x *Exchange) names(b *binding, d *route.Deployment) (model, name []byte) {
	if x.model = x.Request.ModelValue.Of(x.Body); len(x.PathModel) > 0 || !x.Request.ModelValue.Present() {
		from := len(x.scratch)
		x.scratch = jsonscan.AppendString(x.scratch, x.Request.Model)
		x.model = x.scratch[from:len(x.scratch):len(x.scratch)]
	}
	if b.model != nil {
		return b.model, b.name
	}
	from := len(x.scratch)
	x.scratch = x.plan.AppendModel(x.scratch, d)
	plain := x.scratch[from:len(x.scratch):len(x.scratch)]
	from = len(x.scratch)
	x.scratch = jsonscan.AppendString(x.scratch, plain)
	model = x.scratch[from:len(x.scratch):len(x.scratch)]
	from = len(x.scratch)
	x.scratch = x.plan.AppendModelName(x.scratch, d)
	return model, clean(x.scratch[from:len(x.scratch):len(x.scratch)])
}

// timeouts bounds the phases of one call: what the client asked for, else the
// deployment's, else the router's; never more than what is left of the
// exchange. A stream is bounded to its first event, then between bytes, and as
// a whole.
func (g *Gateway) timeouts(x *Exchange, d *route.Deployment) upstream.Timeouts {
	l := &g.limits
	left := time.Duration(max(x.deadline-x.began, int64(time.Millisecond)))
	total := x.asked()
	if total <= 0 {
		total = d.Timeout
	}
	if total <= 0 {
		total = l.Timeout
	}
	total = min(total, left)
	u := upstream.Timeouts{Connect: min(l.Connect, total), TLS: min(l.TLS, total), Total: total}
	if !x.Request.Stream {
		return u
	}
	u.FirstByte = x.firstByte(d, total)
	u.Idle, u.Total = l.Idle, l.Duration
	return u
}

// firstByte is the time to the first event of a stream.
func (x *Exchange) firstByte(d *route.Deployment, total time.Duration) time.Duration {
	for _, t := range [...]time.Duration{x.Asked.Stream, x.Request.StreamTimeout} {
		if t > 0 {
			return min(t, maxAsked)
		}
	}
	switch {
	case x.asked() > 0:
		return total
	case d.StreamTimeout > 0:
		return min(d.StreamTimeout, total)
	case d.Timeout > 0:
		return total
	default:
		return min(x.g.limits.Stream, total)
	}
}

// received takes an answer whose header is there.
func (g *Gateway) received(x *Exchange, b *binding, name []byte, resp *upstream.Response) (*Answer, *llm.Error) {
	now := g.now()
	if x.FirstByte == 0 {
		x.FirstByte = now
	}
	x.providerHeaders(resp)
	if resp.Status != 200 {
		return nil, g.refused(x, b, resp)
	}
	if x.Request.Stream && isStream(resp) {
		return g.stream(x, b, name, resp)
	}
	body, err := resp.ReadAll(x.whole[:0], g.limits.Answer, x.Room)
	resp.Close()
	x.UpstreamNanos += g.now() - x.began
	if err != nil {
		return nil, x.broke(err)
	}
	x.whole = body
	if x.Request.Stream {
		return nil, x.notStream(b)
	}
	return g.finish(x, b, name)
}
