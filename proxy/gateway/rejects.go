package gateway

import (
	"errors"
	"sync/atomic"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/llm"
)

// finishSpending ends what is still open of an exchange, and writes down one that
// was refused before any provider was called.
func (x *Exchange) finishSpending() {
	g, s := x.g, &x.spending
	if s.open {
		status := bill.StatusFailure
		if x.Streamed || x.Err != nil && x.Err.Kind == llm.KindClientGone {
			status = bill.StatusCut
		}
		_ = x.end(status, x.Err) // it is counted
	}
	if g.limiter != nil {
		g.limiter.Settle(&s.held, x.counted(x.Usage.Input, x.Usage.Output))
	}
	if x.Err == nil || x.Attempts > 0 || g.journal == nil || g.terms.NoRejects || !x.Caller.Known || x.Request.Body == nil {
		return
	}
	if !g.rejects.take(g.now()) {
		g.metrics.unrecorded.Inc()
		return
	}
	p := s.sheet()
	in := &p.intent
	x.describe(in, time.Now())
	in.Accounts, in.Prompt = nil, s.prompt
	if d := x.Deployment; d != nil {
		in.ModelID, in.Provider, in.ProviderModel = d.ID, d.Provider, d.Model
	}
	p.settle = bill.Settle{
		At: in.At, Status: bill.StatusRejected, HTTPStatus: x.Err.HTTPStatus(), ErrorKind: errorKind(x.Err),
	}
	if err := g.journal.Reject(in, &p.settle); err != nil {
		g.metrics.unrecorded.Inc()
	}
}

// errorKind is what rows call an error: its kind, but that of refusals by budgets,
// which are no limits that pass by themselves.
func errorKind(e *llm.Error) string {
	if e.Type == typeOverBudget || errors.Is(e.Err, errElsewhere) {
		return typeOverBudget
	}
	return e.Kind.String()
}

// rejects bounds how many refused requests a process writes down: a client that
// does not stop asking fills no database. They are counted all the same.
type rejects struct {
	until atomic.Int64 // the arrival time of the next one, as GCRA has it
}

const (
	rejectsPerSecond = 100
	rejectsBurst     = 1000
)

func (r *rejects) take(now int64) bool {
	const step, burst = int64(time.Second) / rejectsPerSecond, rejectsBurst * int64(time.Second) / rejectsPerSecond
	for {
		was := r.until.Load()
		next := max(was, now) + step
		if next-now > burst {
			return false
		}
		if r.until.CompareAndSwap(was, next) {
			return true
		}
	}
}
