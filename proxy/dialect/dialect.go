// Package dialect reads requests and writes errors in the formats that clients
// speak. A dialect knows bytes and llm types; it knows nothing of providers.
package dialect

import "sluice/proxy/llm"

// Dialect is one format. Implementations are stateless and safe for concurrent
// use.
type Dialect interface {
	// Decode fills req, which was Reset, from a request's whole body. pathModel
	// is the model that the path names; nil if it names none. req aliases body.
	Decode(body, pathModel []byte, req *llm.Request) *llm.Error
	// Error appends the body of an error answer.
	Error(dst []byte, e *llm.Error) []byte
	// StreamError appends the event that ends a stream with an error, its blank
	// line included.
	StreamError(dst []byte, e *llm.Error) []byte
}
