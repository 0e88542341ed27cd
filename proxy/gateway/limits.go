package gateway

import (
	"bytes"
	"strconv"
	"time"

	"sluice/proxy/limit"
	"sluice/proxy/llm"
)

// admit reserves what the caller's limits have to let through: a request, the
// tokens that it may need, a place among the parallel ones. What is reserved is
// held until Settle, which replaces the tokens by those that were used.
func (g *Gateway) admit(x *Exchange) *llm.Error {
	if g.journal != nil && g.journal.Full() {
		return journalFull()
	}
	if err := g.tags(x); err != nil {
		return err
	}
	g.estimates(x)
	if g.limiter == nil || x.Caller.Master {
		return nil
	}
	rules := g.keys.Limits(&x.Caller, &x.wants, x.rules[:0])
	b := g.bindings[x.plan.Deployments[0].Index]
	if r := g.keys.DefaultLimits(&x.Caller, &x.wants, x.Model, b.keyRequests, b.keyTokens); r != nil {
		rules = append(rules, r)
	}
	if x.customer != nil && x.customer.Rule != nil {
		rules = append(rules, x.customer.Rule)
	}
	for _, t := range x.tagged {
		if t.Rule != nil {
			rules = append(rules, t.Rule)
		}
	}
	if g.everybody != nil {
		rules = append(rules, g.everybody)
	}
	if x.rules = rules; len(rules) == 0 {
		return nil
	}
	if r := g.limiter.Reserve(&x.held, rules, x.counted(x.prompt, x.average)); r != nil {
		return x.limited(r)
	}
	return nil
}

// counted picks what of a request's tokens counts towards limits.
func (x *Exchange) counted(input, output int64) int64 {
	return x.g.limiter.Counted().Counts(input, output)
}

// estimates guesses how many tokens the request will take: those of the prompt
// by its bytes, those of the answer by the answers that the model gave before.
func (g *Gateway) estimates(x *Exchange) {
	x.prompt = x.promptTokens()
	b := g.bindings[x.plan.Deployments[0].Index]
	x.average = b.average.expected()
	if most := b.target.Most(&x.Request, b.model); most > 0 {
		x.average = min(x.average, most)
	}
	x.average *= x.answers()
}

// limited is the refusal of a request by one of its caller's limits. What other
// limits say stands in the headers too.
func (x *Exchange) limited(r *limit.Refusal) *llm.Error {
	reset := time.Now().Add(r.Reset + time.Second - 1) // told in whole seconds, and not too early
	e := &llm.Error{
		Kind: llm.KindRateLimit, Type: "rate_limit_error", RetryAfter: max(r.Reset, time.Second),
		Message: "Rate limit exceeded for " + r.Rule.Scope.Descriptor() + ": " + clip(r.Rule.ID) + ". Limit type: " + r.Type.String() +
			". Current limit: " + strconv.FormatInt(r.Limit, 10) + ", Remaining: " + strconv.FormatInt(max(r.Left, 0), 10) +
			". Limit resets at: " + reset.UTC().Format("2006-01-02 15:04:05") + " UTC",
	}
	x.Header, x.scratch = x.Header[:0], x.scratch[:0]
	x.add(headLimitType, []byte(r.Type.String()))
	x.add(headResetAt, strconv.AppendInt(nil, reset.Unix(), 10))
	x.counter(r.Rule, r.Type, r.Limit, max(r.Left, 0), r.Reset)
	if r.Type != limit.Parallel {
		x.plainCounters(counters{{limit: r.Limit, left: max(r.Left, 0), reset: r.Reset, of: r.Type, known: true}})
	}
	return e
}

// Names of headers about limits.
var (
	headLimitType = []byte("rate_limit_type")
	headResetAt   = []byte("reset_at")

	headKeyRequests  = []byte("x-litellm-key-rpm-limit")
	headKeyTokens    = []byte("x-litellm-key-tpm-limit")
	headLeftRequests = "x-litellm-key-remaining-requests-"
	headLeftTokens   = "x-litellm-key-remaining-tokens-"

	// By type of limit: requests, tokens.
	headLimits = [2][]byte{[]byte("x-ratelimit-limit-requests"), []byte("x-ratelimit-limit-tokens")}
	headLefts  = [2][]byte{[]byte("x-ratelimit-remaining-requests"), []byte("x-ratelimit-remaining-tokens")}
	headResets = [2][]byte{[]byte("x-ratelimit-reset-requests"), []byte("x-ratelimit-reset-tokens")}

	scopeHeads = newScopeHeads()
)

// maxScopes is more than there are scopes of limits.
const maxScopes = 32

// scopeHead are the names of the headers of one scope of limits, by type.
type scopeHead struct{ limit, left [3][]byte }

func newScopeHeads() (out [maxScopes]scopeHead) {
	for s := range out {
		for t := range 3 {
			typ := limit.Type(t).String()
			name := "x-ratelimit-" + limit.Scope(s).Descriptor()
			out[s].limit[t] = []byte(name + "-limit-" + typ)
			out[s].left[t] = []byte(name + "-remaining-" + typ)
		}
	}
	return out
}

// counters are the limit of requests and that of tokens of which the least is
// left.
type counters [2]struct {
	limit, left int64
	reset       time.Duration
	of          limit.Type
	known       bool
}

// limitHeaders says what is left of the limits that were reserved: of each, and
// of the one that is nearest to its end.
func (x *Exchange) limitHeaders() {
	if x.held.Mark() == 0 {
		return
	}
	x.ofModel = counters{}
	var nearest counters
	x.held.Counters(func(r *limit.Rule, t limit.Type, top, left int64, reset time.Duration) {
		if r.Scope == limit.ScopeDeployment || r.Scope == limit.ScopeProxy {
			return // no business of a client's
		}
		x.counter(r, t, top, left, reset)
		if t == limit.Parallel {
			return
		}
		if n := &nearest[t]; !n.known || left < n.left {
			n.limit, n.left, n.reset, n.of, n.known = top, left, reset, t, true
		}
		if r.Scope != limit.ScopeKeyModel {
			return
		}
		x.ofModel[t].left, x.ofModel[t].known = left, true
		name := headLeftRequests
		if t == limit.Tokens {
			name = headLeftTokens
		}
		from := len(x.scratch)
		x.scratch = append(append(x.scratch, name...), x.Model...)
		x.addInt(cleanName(x.scratch[from:len(x.scratch):len(x.scratch)]), left)
	})
	x.plainCounters(nearest)
	if all, _, _ := x.g.keys.KeyLimits(&x.Caller, &x.wants); all != nil {
		if all.Requests >= 0 {
			x.addInt(headKeyRequests, all.Requests)
		}
		if all.Tokens >= 0 {
			x.addInt(headKeyTokens, all.Tokens)
		}
	}
}

// counter adds the headers of one limit. Of several of one name, as a caller with
// some tags has, that is told of which the least is left.
func (x *Exchange) counter(r *limit.Rule, t limit.Type, top, left int64, _ time.Duration) {
	h := &scopeHeads[r.Scope]
	if r.Scope == limit.ScopeTag || r.Scope == limit.ScopeOrganization {
		for i := range x.Header {
			if !bytes.Equal(x.Header[i].Name, h.left[t]) {
				continue
			}
			if told, err := strconv.ParseInt(view(x.Header[i].Value), 10, 64); err == nil && told <= left {
				return
			}
			x.drop(h.limit[t])
			x.drop(h.left[t])
			break
		}
	}
	x.addInt(h.limit[t], top)
	x.addInt(h.left[t], left)
}

// plainCounters adds the headers that OpenAI's clients read. A provider's own of
// the same name are not passed on beside them.
func (x *Exchange) plainCounters(nearest counters) {
	for i := range nearest {
		n := &nearest[i]
		if !n.known {
			continue
		}
		x.replaceInt(headLimits[n.of], n.limit)
		x.replaceInt(headLefts[n.of], n.left)
		x.drop(headResets[n.of])
		from := len(x.scratch)
		x.scratch = appendSeconds(x.scratch, n.reset)
		x.add(headResets[n.of], x.scratch[from:len(x.scratch):len(x.scratch)])
	}
}

// appendSeconds writes a duration as OpenAI does: 1.5s. What is finer than a
// millisecond is rounded up: who waits as long is not too early.
func appendSeconds(dst []byte, d time.Duration) []byte {
	ms := max((d + time.Millisecond - 1).Milliseconds(), 0)
	dst = strconv.AppendInt(dst, ms/1000, 10)
	if ms %= 1000; ms > 0 {
		dst = append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	}
	return append(dst, 's')
}

// full is the refusal of a call by a deployment's own limits.
func (x *Exchange) full(r *limit.Refusal) *llm.Error {
	return &llm.Error{
		Kind: llm.KindRateLimit, Type: "throttling_error", RetryAfter: max(r.Reset, time.Second), Err: errFull,
		Message: "No deployments available for selected model, the limit of " + r.Type.String() + " of " + x.group() +
			" is reached: " + strconv.FormatInt(r.Limit, 10) + ". Try again later.",
	}
}

// cleanName makes a model's name fit to be part of a header's name, in place.
func cleanName(b []byte) []byte {
	for i, c := range b {
		switch {
		case c-'A' < 26:
			b[i] = c | 0x20
		case c-'a' < 26, c-'0' < 10, c == '-', c == '_', c == '.':
		default:
			b[i] = '-'
		}
	}
	return b
}
