package gateway

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sluice/proxy/access"
	"sluice/proxy/auth"
	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
	"sluice/proxy/route"
	"sluice/proxy/upstream"
)

// Cause says why an exchange is cut short from outside.
type Cause uint32

// Causes of Cancel.
const (
	CauseNone       Cause = iota
	CauseClientGone       // the client hung up
	CauseStopping         // the worker's stop window is over
)

// Reasons of a cancelled provider call, one for each cause.
var (
	errStopping   = errors.New("the worker is stopping")
	errClientGone = errors.New("the client is gone")
)

// reason is the cause as the upstream is told it.
func (c Cause) reason() error {
	if c == CauseStopping {
		return errStopping
	}
	return errClientGone
}

// Timeouts are what a client asked for in headers; 0 means not asked.
type Timeouts struct {
	Total  time.Duration // x-litellm-timeout
	Stream time.Duration // x-litellm-stream-timeout: to the first event
}

// Dialect is what the gateway needs of the client's dialect.
type Dialect interface {
	// StreamError appends the event that ends a stream with an error.
	StreamError(dst []byte, e *llm.Error) []byte
}

// Exchange is one request from admission to settlement. The server pools it:
// it fills the first block, calls Identify, fills Body, decodes Request, calls
// Do, writes the Answer and calls Settle exactly once. Only Cancel may be
// called from another goroutine. It must not be copied.
type Exchange struct {
	ID      [36]byte // UUIDv7 as text
	CallID  []byte   // the client's x-litellm-call-id, or ID
	Route   string   // template of the path, for example /v1/chat/completions
	Remote  []byte   // the client's address as logs show it
	Start   int64    // fleet.Now at admission
	Dialect Dialect

	Access  *access.Route // the row of the route; nil asks for no permission
	EndUser []byte        // the customer that a header names; nil if none does

	Caller auth.Identity // set by Identify

	PathModel []byte // model named by the path; nil if none
	Body      []byte // the whole body; the server's, until Settle
	Lines     []byte // the request's header lines as they came; the server's, until Do returns
	Request   llm.Request
	Asked     Timeouts
	Said      Said
	Room      upstream.Room // asked before a large answer is held; nil refuses nothing

	// What came of it.
	Model         string            // model group that answered or would have
	Deployment    *route.Deployment // the last one tried; nil if none was
	Attempts      int               // calls to providers
	Usage         llm.Usage
	Status        int   // of the answer
	Streamed      bool  // answered as an event stream
	FirstByte     int64 // fleet.Now when the provider's first byte was there; 0 if never
	UpstreamNanos int64 // time spent waiting for providers
	Err           *llm.Error
	// Header is what the answer carries beside its standard headers, with an
	// error too. It lives until Settle.
	Header []llm.Field

	g     *Gateway
	plan  route.Plan
	wants auth.Model // the model as limits and lists name it
	spending
	tagNames     []string        // tags of the spend
	chargedTags  int             // of them, those that budgets may hang on
	tagged       []*auth.Account // of those
	customer     *auth.Account   // of the end user, nil for none
	metadata     []byte          // what the client says of the request, as JSON; nil for nothing, or too much
	manyMetadata []byte          // where it is too much
	kept         keeping
	deadline     int64 // on fleet.Now's scale
	handle       upstream.Handle
	call         upstream.Call
	open         *upstream.Response // the last call's; closing it again does nothing
	answer       Answer
	pump         pump
	object       jsonscan.Object    // of answers
	inner        [2]jsonscan.Object // of usage in them
	whole        []byte             // a whole answer's bytes
	edits        []llm.Edit
	pieces       [][]byte // of the provider's request
	parts        [][]byte // of the client's answer
	scratch      []byte   // names and header values
	lent         *loan    // where Header and scratch came from; nil for nowhere
	choices      llm.Span // of a whole answer
	cited        bool     // the answer names what a search of the web has found
	head         []byte   // of the provider's request, where it holds the client's headers
	model        []byte   // the name the client asked for, as JSON
	began        int64    // of the running or last call
	attrs        []slog.Attr
	cause        atomic.Uint32
	wake         chan struct{} // ends a wait between attempts
}

// maxKept bounds the memory that a pooled exchange holds on to, in bytes.
const maxKept = 64 << 10

// Reset makes the exchange ready for the next request. Memory is kept.
func (x *Exchange) Reset() {
	x.Request.Reset()
	x.handle.Reset()
	x.plan.Reset()
	x.pump.reset()
	x.CallID, x.Route, x.Remote, x.Start, x.Dialect = nil, "", nil, 0, nil
	x.Access, x.EndUser = nil, nil
	x.Caller, x.PathModel, x.Body, x.Lines, x.Asked = auth.Identity{}, nil, nil, nil, Timeouts{}
	x.Model, x.Deployment, x.Attempts, x.Usage, x.Status = "", nil, 0, llm.Usage{}, 0
	x.Streamed, x.FirstByte, x.UpstreamNanos, x.Err = false, 0, 0, nil
	x.Header, x.edits, x.pieces, x.parts = x.Header[:0], x.edits[:0], x.pieces[:0], x.parts[:0]
	x.Room, x.g, x.deadline, x.model, x.began, x.open, x.choices = nil, nil, 0, nil, 0, nil, llm.Span{}
	if cap(x.whole) > maxKept {
		x.whole = nil
	}
	if cap(x.scratch) > maxKept {
		x.scratch = nil
	}
	x.scratch, x.call = x.scratch[:0], upstream.Call{}
	x.cited = false
	x.Said, x.wants = Said{}, auth.Model{}
	clear(x.tagNames)
	clear(x.tagged)
	x.tagNames, x.tagged, x.chargedTags, x.customer, x.metadata, x.manyMetadata = x.tagNames[:0], x.tagged[:0], 0, nil, nil, nil
	s := &x.spending
	s.reset()
	x.kept.reset()
	x.cause.Store(0)
	if x.wake == nil {
		x.wake = make(chan struct{}, 1)
	}
	select {
	case <-x.wake:
	default:
	}
}

// Cancel cuts the exchange short: a provider call that is under way ends within
// milliseconds. The first cause counts. It may be called from any goroutine
// between Reset and the return of Settle.
func (x *Exchange) Cancel(c Cause) {
	if !x.cause.CompareAndSwap(0, uint32(c)) {
		return
	}
	x.handle.Cancel(c.reason())
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// GoOn is called by the server when a stream's header has been made and the
// memory that the request's header lines lay in is not its own any more: the
// exchange keeps what it still needs of them, and gives its answer's header back
// for others to use.
func (x *Exchange) GoOn() {
	own := make([]byte, 0, len(x.CallID)+len(x.EndUser)+len(x.Said.Session)+len(x.model)+len(x.metadata)+len(x.manyMetadata))
	keep := func(b []byte) []byte {
		if b == nil {
			return nil
		}
		from := len(own)
		own = append(own, b...)
		return own[from:len(own):len(own)]
	}
	if len(x.CallID) > 0 && &x.CallID[0] != &x.ID[0] {
		x.CallID = keep(x.CallID)
	}
	x.EndUser, x.model = keep(x.EndUser), keep(x.model)
	x.metadata, x.manyMetadata = keep(x.metadata), keep(x.manyMetadata)
	x.Said, x.Lines = Said{Session: keep(x.Said.Session), Redact: x.Said.Redact}, nil
	if l := x.lent; l != nil {
		clear(x.Header)
		l.header, l.scratch = x.Header[:0], x.scratch[:0]
		loans.Put(l)
		x.lent = nil
	}
	x.Header, x.scratch, x.answer.Header = nil, nil, nil
}

// loan is the memory of an answer's header. Whole answers keep theirs for the
// next request; a stream needs none while it goes on.
type loan struct {
	header  []llm.Field
	scratch []byte
}

var loans = sync.Pool{New: func() any { return &loan{} }}

// borrow makes room for an answer's header.
func (x *Exchange) borrow() {
	if x.lent == nil {
		x.lent = loans.Get().(*loan)
		x.Header, x.scratch = x.lent.header[:0], x.lent.scratch[:0]
	}
}

// fail remembers how the exchange ended.
func (x *Exchange) fail(err *llm.Error) *llm.Error {
	x.Err, x.Status = err, err.HTTPStatus()
	return err
}

// canceled is the error of an exchange that was cut short; nil if it was not.
func (x *Exchange) canceled() *llm.Error {
	switch Cause(x.cause.Load()) {
	case CauseClientGone:
		return &llm.Error{Kind: llm.KindClientGone, Message: "The client closed the connection.", Close: true}
	case CauseStopping:
		return &llm.Error{
			Kind: llm.KindUnavailable, RetryAfter: time.Second, Close: true,
			Message: "The gateway is stopping; send the request again.",
		}
	default:
		return nil
	}
}

// asked is the time that the client wants to wait, 0 if it does not say. A
// header wins over the body.
func (x *Exchange) asked() time.Duration {
	if x.Asked.Total > 0 {
		return x.Asked.Total
	}
	return x.Request.Timeout
}

// keep appends to the scratch and returns the copy. Earlier ones stay valid.
func (x *Exchange) keep(parts ...[]byte) []byte {
	from := len(x.scratch)
	for _, p := range parts {
		x.scratch = append(x.scratch, p...)
	}
	return x.scratch[from:len(x.scratch):len(x.scratch)]
}
