package gateway

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/budget"
	"sluice/proxy/journal"
	"sluice/proxy/jsonscan"
	"sluice/proxy/limit"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/price"
)

// Journal is where it is written down what was attempted and what it cost.
// *journal.Writer is one. Nothing that it is given is kept.
type Journal interface {
	// Full reports whether Intent refuses at present.
	Full() bool
	// Intent is called before the first byte goes to a provider. With an error
	// the attempt is not made: journal.ErrFull where no more can be held.
	Intent(in *bill.Intent, p journal.Price) error
	Progress(id [16]byte, attempt, output int64) error
	// Settle is called before the last byte of an answer leaves.
	Settle(id [16]byte, attempt int64, s *bill.Settle) error
	Reject(in *bill.Intent, s *bill.Settle) error
	// Body keeps what was asked and answered, or loses it.
	Body(id [16]byte, attempt int64, messages, response, metadata []byte)
}

var _ Journal = (*journal.Writer)(nil)

// spending is what an exchange has reserved, and what it has come to.
type spending struct {
	id     [16]byte // of the exchange
	held   limit.Hold
	hold   budget.Hold
	rules  []*limit.Rule
	limits []*budget.Limit
	one    [1]*limit.Rule
	paper  *paper // nil: nothing is being written down, or a stream goes on

	prompt  int64    // tokens of the prompt, estimated
	average int64    // tokens of the answer, guessed
	media   media    // of the prompt, once somebody has asked
	ofModel counters // what is left of the key's limits for the model
	capped  int64    // tokens that the answer is capped at by us; 0: it is not

	at       *binding // of the open attempt
	price    *price.Price
	open     bool  // an attempt was begun and has not ended
	mark     int   // of held, before the attempt
	attempt  int64 // number of the open attempt
	redialed int   // attempts that followed one whose pooled connection was dead: no retries
	costs    price.Costs
	cost     money.Nano // of all attempts
	progress struct{ at, tokens int64 }
	provider [96]byte // the provider's id of the answer
	named    int      // bytes of it
}

// reset makes it ready for the next exchange. What begin fills in anew is left as
// it is: this runs for every request, and most of it is large.
func (s *spending) reset() {
	clear(s.rules)
	clear(s.limits)
	s.rules, s.limits, s.one[0] = s.rules[:0], s.limits[:0], nil
	if s.paper != nil && s.paper.used {
		s.paper.wipe()
	}
	s.prompt, s.average, s.capped, s.media, s.ofModel = 0, 0, 0, media{}, counters{}
	s.at, s.price, s.open, s.mark, s.attempt, s.redialed = nil, nil, false, 0, 0, 0
	s.costs, s.cost, s.progress.at, s.progress.tokens, s.named = price.Costs{}, 0, 0, 0, 0
}

// paper is what an exchange writes its attempts on for the journal. A stream
// gives it back while it goes on: there may be thousands.
type paper struct {
	intent   bill.Intent
	settle   bill.Settle
	accounts []bill.Account
	used     bool
}

var papers = sync.Pool{New: func() any { return &paper{} }}

func (p *paper) wipe() {
	clear(p.accounts)
	*p = paper{accounts: p.accounts[:0]}
}

// sheet is the exchange's paper.
func (s *spending) sheet() *paper {
	if s.paper == nil {
		s.paper = papers.Get().(*paper)
	}
	s.paper.used = true
	return s.paper
}

// putAway gives the paper back.
func (s *spending) putAway() {
	if p := s.paper; p != nil {
		p.wipe()
		papers.Put(p)
		s.paper = nil
	}
}

// errFull marks refusals by what a deployment may take by itself: another one
// may have room.
var errFull = errors.New("the deployment has no room")

// begin reserves what one call to a deployment may take, and writes down that it
// is made. After an error nothing is held beyond what was before, and the
// deployment must not be called.
func (g *Gateway) begin(x *Exchange, b *binding, model []byte) *llm.Error {
	s := &x.spending
	s.mark, s.at, s.capped = s.held.Mark(), b, 0
	s.price = b.priceOf(model)
	if g.limiter != nil && b.rule != nil {
		s.one[0] = b.rule
		if r := g.limiter.Reserve(&s.held, s.one[:], x.counted(s.prompt, s.average)); r != nil {
			return x.full(r)
		}
	}
	now := time.Now()
	if err := g.reserve(x, b, model, now); err != nil {
		g.undo(x)
		return err
	}
	if g.journal != nil {
		if err := g.journal.Intent(x.intended(now), s.priced()); err != nil {
			g.undo(x)
			return g.unwritten(err)
		}
	}
	s.open = true
	x.Attempts++
	return nil
}

// undo gives back what begin has reserved of an attempt that is not made.
func (g *Gateway) undo(x *Exchange) {
	s := &x.spending
	if g.limiter != nil {
		g.limiter.Cancel(&s.held, s.mark)
	}
	if g.budgets != nil {
		g.budgets.Settle(&s.hold, 0)
	}
}

// reserve reserves what the call may cost from every budget that it is charged
// to.
func (g *Gateway) reserve(x *Exchange, b *binding, model []byte, now time.Time) *llm.Error {
	s := &x.spending
	s.limits = g.keys.Budgets(&x.Caller, &x.wants, s.limits[:0])
	if x.customer != nil {
		s.limits = append(s.limits, x.customer.Budgets...)
	}
	for _, t := range x.tagged {
		s.limits = append(s.limits, t.Budgets...)
	}
	s.limits = append(s.limits, b.budgets...)
	if g.budgets == nil {
		return nil
	}
	amount := money.Nano(0)
	switch {
	case !s.price.Known():
		amount = leastCost
	case !s.price.Free():
		amount = g.worst(x, b, model)
	}
	at := now.UnixNano()
	left := time.Duration(max(x.deadline-g.now(), 0))
	r := g.budgets.Reserve(&s.hold, s.limits, amount, s.id, int64(x.Attempts), at, at+int64(left))
	if r != nil && r.Away && !s.price.Known() { // it is free as far as anybody knows
		r = g.budgets.Reserve(&s.hold, s.limits, 0, s.id, int64(x.Attempts), at, at+int64(left))
	}
	if r == nil {
		return nil
	}
	if most := x.affordable(b, r); most > 0 {
		s.capped = most
		amount = s.price.Most(x.ask(b, most))
		if r = g.budgets.Reserve(&s.hold, s.limits, amount, s.id, int64(x.Attempts), at, at+int64(left)); r == nil {
			return nil
		}
	}
	return g.overBudget(x, r, amount)
}

// leastCost is what a call to a model of unknown price reserves. Its provider may
// say what it charged: a budget that is used up refuses it, as LiteLLM's does;
// only a price of 0 makes a call free.
const leastCost money.Nano = 1

// leastCap is the shortest answer, in tokens, that is asked for near the end of a
// budget where the client wants none of a certain length.
const leastCap = 256

// affordable is the longest answer that there is room for in a budget that has
// refused the longest one that the model gives; 0 where the client has said how
// long it may be, or what would fit is shorter than answers usually are.
func (x *Exchange) affordable(b *binding, r *budget.Refusal) int64 {
	s := &x.spending
	room := r.Max - r.Spent
	if s.capped == 0 || r.Away || room <= 0 {
		return 0
	}
	least := max(s.average/x.answers(), leastCap)
	fits := func(most int64) bool { return s.price.Most(x.ask(b, most)) <= room }
	if least >= s.capped || !fits(least) {
		return 0
	}
	low, high := least, s.capped // low fits
	for high-low > 1 {
		if mid := low + (high-low)/2; fits(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// worst is the most that a call can cost. Where a budget holds it to that, the
// answer is capped at what was reserved, unless the client has said less.
func (g *Gateway) worst(x *Exchange, b *binding, model []byte) money.Nano {
	s := &x.spending
	most := b.target.Most(&x.Request, model)
	switch {
	case g.terms.Optimistic:
		return s.price.Most(price.Ask{Tier: x.tier(), Prompt: s.prompt, Output: s.average})
	case most <= 0:
		if most = b.maxOutput; most <= 0 {
			most = defaultOutput
		}
		if bounded(s.limits) {
			s.capped = most
		}
	case b.maxOutput > 0:
		most = min(most, b.maxOutput) // the model gives no more, whatever is asked
	}
	return s.price.Most(x.ask(b, most))
}

// defaultOutput is what an answer may have where neither client nor model says,
// in tokens.
const defaultOutput = 4096

// bounded reports whether one of the accounts has a budget.
func bounded(limits []*budget.Limit) bool {
	for _, l := range limits {
		if l.Max >= 0 {
			return true
		}
	}
	return false
}

// intended fills in what is known before a call.
func (x *Exchange) intended(now time.Time) *bill.Intent {
	s, d := &x.spending, x.Deployment
	s.attempt = int64(x.Attempts)
	p := s.sheet()
	p.accounts = s.hold.Accounts(p.accounts[:0])
	if x.g.budgets == nil {
		for _, l := range s.limits {
			p.accounts = append(p.accounts, bill.Account{Kind: l.Kind, ID: l.ID})
		}
	}
	in := &p.intent
	x.describe(in, now)
	in.Attempt = s.attempt
	in.ModelID, in.Provider, in.ProviderModel = d.ID, d.Provider, d.Model
	if d.Wildcard() {
		in.ProviderModel = view(x.plan.AppendModel(nil, d))
	}
	in.Price, in.Prompt, in.Reserved, in.Claim = s.price.Version(), s.prompt, s.hold.Amount(), s.hold.Claim()
	in.Accounts = p.accounts
	return in
}

// describe fills in who calls for what.
func (x *Exchange) describe(in *bill.Intent, now time.Time) {
	c := &x.Caller
	in.RequestID, in.At, in.Streamed = x.id, now.UnixNano(), x.Request.Stream
	in.CallType, in.Model = x.Route, x.Model
	switch {
	case c.Key != nil:
		in.Token = c.Key.Token
	case c.Master:
		in.Token = masterHash
	case c.Unavailable: // nobody knows whose it is, yet
		in.Token = view(c.KeyHash[:])
	}
	in.User, in.Team, in.Organization, in.Project = c.User, c.Team, c.Organization, c.Project
	if !x.g.terms.NoCustomers {
		in.EndUser = view(x.EndUser)
	}
	in.CallID, in.Session, in.ClientAddress = view(x.CallID), view(x.Said.Session), view(x.Remote)
	in.Tags, in.Metadata = x.tagNames, view(x.metadata)
}

// end writes down how the running attempt ended, and settles what it reserved.
// It is called before the last byte of an answer leaves. With an error the
// answer must not be given as a success: nobody would know of it.
func (x *Exchange) end(status bill.Status, e *llm.Error) *llm.Error {
	s, g := &x.spending, x.g
	if !s.open {
		return nil
	}
	s.open = false
	s.costs = price.Costs{}
	if status == bill.StatusSuccess || status == bill.StatusCut {
		x.settleUsage(status == bill.StatusCut)
		s.costs = s.price.Costs(&x.Usage)
		s.at.average.add(x.Usage.Output / x.answers())
	}
	s.cost += s.costs.Cost
	x.Caller.Spent(s.costs.Cost)
	var err error
	if g.journal != nil {
		err = g.journal.Settle(s.id, s.attempt, x.settled(status, e))
		x.keepBodies(status)
	}
	if g.budgets != nil {
		g.budgets.Settle(&s.hold, s.costs.Cost)
	}
	if g.limiter != nil && status == bill.StatusFailure {
		g.limiter.Drop(&s.held, s.mark)
	}
	if err != nil {
		return g.unwritten(err)
	}
	return nil
}

// settled fills in how an attempt ended.
func (x *Exchange) settled(status bill.Status, e *llm.Error) *bill.Settle {
	s := &x.spending
	out := &s.sheet().settle
	*out = bill.Settle{At: time.Now().UnixNano(), Status: status, HTTPStatus: 200, Usage: x.Usage, Cost: s.costs.Cost}
	if x.FirstByte > 0 && x.FirstByte >= x.began {
		out.FirstByteAt = out.At - max(x.g.now()-x.FirstByte, 0)
	}
	if e != nil {
		out.ErrorKind = errorKind(e)
		if !x.Streamed {
			out.HTTPStatus = e.HTTPStatus()
		}
	}
	out.ProviderID = view(s.provider[:s.named])
	return out
}

// identified remembers the provider's id of the answer.
func (x *Exchange) identified(o *jsonscan.Object, b []byte) {
	s := &x.spending
	if s.named > 0 {
		return
	}
	if m := o.Find("id"); m != nil && m.Kind == llm.JSONString {
		quoted := m.Value.Of(b)
		s.named = copy(s.provider[:], quoted[1:len(quoted)-1])
	}
}

// delivered settles a stream whose terminal event has come, before it is passed
// on.
func (x *Exchange) delivered() *llm.Error {
	x.Streamed = true
	return x.end(bill.StatusSuccess, nil)
}

// priced is the attempt's price as the journal wants it.
func (s *spending) priced() journal.Price {
	if s.price.Version() == 0 {
		return nil
	}
	return s.price
}

// Progress of a stream is written down when so much has come of it since.
const (
	progressEvery  = int64(time.Second)
	progressTokens = 256
)

// advance writes down how much of a stream has been produced, from time to time.
func (x *Exchange) advance(spoken *speech) {
	s := &x.spending
	if !s.open || x.g.journal == nil {
		return
	}
	tokens, now := spoken.tokens(), x.g.now()
	if s.progress.at == 0 {
		s.progress.at = now
	}
	if tokens == s.progress.tokens || tokens-s.progress.tokens < progressTokens && now-s.progress.at < progressEvery {
		return
	}
	s.progress.at, s.progress.tokens = now, tokens
	if err := x.g.journal.Progress(s.id, s.attempt, tokens); err != nil {
		x.g.metrics.unwritten.Inc()
	}
}

// requestID is the id of an exchange as a number.
func requestID(text *[36]byte) (id [16]byte) {
	var plain [32]byte
	n := 0
	for _, c := range text {
		if c != '-' && n < len(plain) {
			plain[n] = c
			n++
		}
	}
	_, _ = hex.Decode(id[:], plain[:n&^1])
	return id
}

// unwritten is the error where the journal takes nothing.
func (g *Gateway) unwritten(err error) *llm.Error {
	g.metrics.unwritten.Inc()
	if errors.Is(err, journal.ErrFull) {
		return journalFull()
	}
	if g.log != nil && g.log.Level() <= slog.LevelError {
		g.log.Emit(slog.LevelError, "an attempt could not be written down", []slog.Attr{slog.String("error", err.Error())})
	}
	return &llm.Error{
		Kind: llm.KindUnavailable, Type: "journal_unavailable", RetryAfter: 5 * time.Second, Err: err,
		Message: "The gateway cannot write down what calls cost, and makes none until it can. Try again shortly.",
	}
}

func journalFull() *llm.Error {
	return &llm.Error{
		Kind: llm.KindUnavailable, Type: "journal_full", RetryAfter: 5 * time.Second,
		Message: "The gateway cannot take model calls now: what earlier ones cost waits to be written to the database, and no more can wait. Try again shortly.",
	}
}
