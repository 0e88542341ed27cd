package gateway

import (
	"time"

	"sluice/proxy/llm"
	"sluice/proxy/provider"
)

// mocked answers in place of a provider, through the same pump and splice.
func (g *Gateway) mocked(x *Exchange, b *binding, name []byte, m *provider.Mock, model []byte) (*Answer, *llm.Error) {
	if err := g.mockWait(x, m); err != nil {
		return nil, err
	}
	if err := m.Fail(); err != nil {
		return nil, err
	}
	x.FirstByte = g.now()
	x.whole = m.Append(x.whole[:0], &x.Request, model, x.ID[:], time.Now().Unix())
	if x.Request.Stream {
		return g.stream(x, b, name, &replay{b: x.whole})
	}
	return g.finish(x, b, name)
}

// mockWait is as slow as the mock was told to be, within the time that a call
// to the deployment may take.
func (g *Gateway) mockWait(x *Exchange, m *provider.Mock) *llm.Error {
	test := &x.Request.Test
	delay := test.Delay
	if delay == 0 && m != nil {
		delay = m.Delay
	}
	if delay <= 0 && !test.Timeout {
		return nil
	}
	x.call.Timeouts = g.timeouts(x, x.Deployment)
	patience := x.call.Timeouts.Total
	if x.Request.Stream {
		patience = x.call.Timeouts.FirstByte
	}
	late := test.Timeout || delay > patience
	if late {
		delay = patience
	}
	err := x.wait(delay)
	x.UpstreamNanos += g.now() - x.began
	if err == nil && late {
		err = &llm.Error{
			Kind: llm.KindTimeout, Type: "invalid_request_error",
			Message: "litellm.Timeout: the mock of " + x.group() + " was told to be late; given up after " + patience.String() + ".",
		}
	}
	return err
}

// mockFailure is the failure that the request asks for; nil if it asks for none.
func (x *Exchange) mockFailure() *llm.Error {
	t := &x.Request.Test
	if !t.Fail {
		return nil
	}
	e := &llm.Error{
		Kind:    t.Kind,
		Message: "litellm." + t.Kind.Class() + ": the request asked for this failure of " + x.group() + ", and no other group stands in for it.",
	}
	switch t.Kind {
	case llm.KindContextWindow:
		e.Code = "context_length_exceeded"
	case llm.KindContentPolicy:
		e.Code = "content_policy_violation"
	}
	return e
}
