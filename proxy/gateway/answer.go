package gateway

import "sluice/proxy/llm"

// Answer is what the client gets: Body in pieces, or a Stream. It lives until
// Settle and must not be kept longer.
type Answer struct {
	Status      int
	ContentType string
	Header      []llm.Field
	Body        [][]byte
	Stream      Stream // nil for a whole answer
}

// Stream is the body of a streamed answer.
type Stream interface {
	// Read fills p with whole events as the provider sends them: what one read
	// of the provider's connection completed leaves together. It returns io.EOF
	// only after the terminal event of a success. On a failure the dialect's
	// error event comes first and then io.ErrUnexpectedEOF: the connection must
	// be closed without a terminating chunk.
	Read(p []byte) (int, error)
	// Close gives up what is left of the stream. It settles nothing.
	Close() error
}
