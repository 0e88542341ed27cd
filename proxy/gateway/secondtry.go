package gateway

import (
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/llm"
)

// TryAgain tells the journal that the provider is called once more, because a
// connection from the pool died before an answer began. With an error it is not.
func (x *Exchange) TryAgain() error {
	s := &x.spending
	if !s.open || x.g.journal == nil {
		return nil
	}
	lost := &llm.Error{Kind: llm.KindConnection, Message: "the connection died before an answer began"}
	if err := x.g.journal.Settle(s.id, s.attempt, x.settled(bill.StatusFailure, lost)); err != nil {
		return err
	}
	s.open = false
	now, p := time.Now(), s.sheet() // what was intended stands on it still
	in := &p.intent
	if b := x.g.budgets; b != nil {
		amount := s.hold.Amount()
		b.Settle(&s.hold, 0)
		if r := b.Reserve(&s.hold, s.limits, amount, s.id, s.attempt+1, now.UnixNano(), now.UnixNano()); r != nil {
			x.g.giveUp(x)
			return errElsewhere
		}
		p.accounts = s.hold.Accounts(p.accounts[:0])
		in.Accounts, in.Reserved, in.Claim = p.accounts, s.hold.Amount(), s.hold.Claim()
	}
	s.attempt++
	in.Attempt, in.At = s.attempt, now.UnixNano()
	if err := x.g.journal.Intent(in, s.priced()); err != nil {
		x.g.giveUp(x)
		return err
	}
	s.open = true
	s.redialed++
	x.Attempts++
	return nil
}

// giveUp gives back what is reserved of an attempt that was made and is not made
// again: it stays a request of the deployment.
func (g *Gateway) giveUp(x *Exchange) {
	s := &x.spending
	if g.limiter != nil {
		g.limiter.Drop(&s.held, s.mark)
	}
	if g.budgets != nil {
		g.budgets.Settle(&s.hold, 0)
	}
}
