package gateway

import (
	"sync/atomic"
	"time"

	"sluice/proxy/auth"
	"sluice/proxy/llm"
	"sluice/proxy/route"
)

// Cause says why an exchange is cut short from outside.
type Cause uint32

// Causes of Cancel.
const (
	CauseNone       Cause = iota
	CauseClientGone       // the client hung up
	CauseStopping         // the worker's stop window is over
)

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
// called from another goroutine.
type Exchange struct {
	ID      [36]byte // UUIDv7 as text
	CallID  []byte   // the client's x-litellm-call-id, or ID
	Route   string   // template of the path, for example /v1/chat/completions
	Remote  []byte   // the client's address as logs show it
	Start   int64    // fleet.Now at admission
	Dialect Dialect

	Caller auth.Identity // set by Identify

	PathModel []byte // model named by the path; nil if none
	Body      []byte // the whole body; the server's, until Settle
	Request   llm.Request
	Asked     Timeouts

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

	cause atomic.Uint32
}

// Reset makes the exchange ready for the next request. Memory is kept.
func (x *Exchange) Reset() {
	x.Request.Reset()
	x.cause.Store(0)
}

// Cancel cuts the exchange short: a provider call that is under way ends within
// milliseconds. The first cause counts. It may be called from any goroutine
// between Reset and the return of Settle.
func (x *Exchange) Cancel(c Cause) { x.cause.CompareAndSwap(0, uint32(c)) }
