// Package llm is the model that all other packages of the proxy speak: what a
// request asks for, what an answer cost, what went wrong. It imports nothing.
package llm

import (
	"fmt"
	"time"
)

// Kind classes an error. Status, retry, cooldown and log level follow from it.
type Kind uint8

// The closed list of kinds.
const (
	KindInternal      Kind = iota // our bug
	KindBadRequest                // the client's request is wrong
	KindAuth                      // no or unknown key, ours or the provider's
	KindForbidden                 // known caller, not allowed
	KindNotFound                  // route or model
	KindTimeout                   // a deadline passed: the provider's, or ours
	KindTooLarge                  // body, headers or target
	KindRateLimit                 // ours or the provider's
	KindClientGone                // the client left
	KindConnection                // the provider could not be reached, or broke off
	KindProtocol                  // the provider's answer could not be understood
	KindUpstream                  // the provider failed (5xx)
	KindUnavailable               // we cannot serve now: overloaded, draining, dependency away
	KindContextWindow             // the prompt does not fit the model
	KindContentPolicy             // refused by the provider's policy
)

// Error is the one type of error that crosses the edge to a client. Message is
// for the client and never holds a key, a prompt, an address or a driver's
// text; Err is for the log.
type Error struct {
	Kind    Kind
	Status  int    // HTTP status; 0 means the one that follows from Kind
	Type    string // "" means the one that follows from Kind
	Param   string // "" is null, "None" is LiteLLM's literal None
	Code    string // "" means the status as text
	Message string

	// RetryAfter goes out as Retry-After in whole seconds, rounded up.
	RetryAfter time.Duration
	// Detail selects the {"detail": Message} body that unknown routes and
	// wrong methods get.
	Detail bool
	// Body is a whole JSON document that is sent in place of all the above, for
	// the forms that only the management API has.
	Body []byte
	// Close asks for the connection to be closed after the answer.
	Close bool

	Err error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Err)
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Field is one header line. The bytes belong to whoever made the Field; its
// owner says how long they live.
type Field struct {
	Name, Value []byte
}

// Span is a half-open range of bytes, [From, To). To == 0 means absent.
type Span struct{ From, To int }

// Present reports whether the span was found.
func (s Span) Present() bool { return s.To > 0 }

// Of cuts the span out of b.
func (s Span) Of(b []byte) []byte { return b[s.From:s.To] }

// Edit replaces the bytes of Span by With; an empty span inserts.
type Edit struct {
	Span Span
	With []byte
}
