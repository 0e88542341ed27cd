package llm

import "time"

// JSONKind is the type of a JSON value.
type JSONKind uint8

// The types of RFC 8259, section 3.
const (
	JSONNone JSONKind = iota
	JSONNull
	JSONFalse
	JSONTrue
	JSONNumber
	JSONString
	JSONArray
	JSONObject
)

var jsonKinds = [...]string{"nothing", "null", "false", "true", "a number", "a string", "an array", "an object"}

// String names the type with its article, as it stands in an error message.
func (k JSONKind) String() string { return jsonKinds[k] }

// Member is one name and value of a JSON object. Spans count from the start of
// the bytes that were scanned.
type Member struct {
	Name  []byte   // unescaped; aliases the scanned bytes or the scanner's scratch
	Key   Span     // the name with its quotes
	Value Span     // the value, strings with their quotes
	Kind  JSONKind // of the value
	Ours  bool     // meant for the gateway: never forwarded
}

// Request is what a client asks of a model, in no dialect. Its bytes alias
// Body, which belongs to the exchange; it is reused from exchange to exchange.
type Request struct {
	Body    []byte
	Members []Member // of Body's top-level object, in order
	Open    int      // offset of that object's brace

	Model      []byte // the name asked for; a path's model wins over the body's
	ModelValue Span   // the body's model, quotes included; absent with a path's model alone
	Stream     bool
	// IncludeUsage says that the client asked for a usage chunk of a stream.
	IncludeUsage      bool
	StreamOptions     Span // value of stream_options
	StreamOptionsKind JSONKind
	IncludeUsageValue Span // value of stream_options.include_usage, when it is not true
	StreamOptionsSize int  // number of members of stream_options

	// Asked by gateway extras in the body; 0 (Retries: negative) means not asked.
	Retries       int
	Timeout       time.Duration
	StreamTimeout time.Duration
	// Mock is the body's mock_response, unescaped; nil when there is none.
	Mock []byte
	// Test is what else the body asks of a mock.
	Test MockTest
	// Credential names the first field with which the client brings a provider
	// credential or address of its own ("api_base"); "" when there is none.
	Credential string

	// DropParams asks to leave out what a provider does not support, AllowParams
	// lists what is sent all the same, DropAlso what is never sent: values of
	// drop_params, allowed_openai_params and additional_drop_params.
	DropParams            bool
	AllowParams, DropAlso Span

	// Lenient accepts duplicate top-level names, the last of which counts
	// (compat.lenient_json). It is set before a body is decoded.
	Lenient bool

	Scratch []byte // unescaped names and values
}

// MockTest is what a client asks for in order to see how failures are handled.
type MockTest struct {
	Fail    bool // answer with an error of Kind, no provider is called (mock_testing_*)
	Kind    Kind
	Timeout bool          // wait as long as a call may take, then fail (mock_timeout)
	Delay   time.Duration // wait so long before a mocked answer (mock_delay)
}

// Reset empties the request and keeps its memory.
func (r *Request) Reset() {
	members, scratch := r.Members[:0], r.Scratch[:0]
	if cap(members) > 256 {
		members = nil
	}
	*r = Request{Members: members, Scratch: scratch, Retries: -1}
}

// Find returns the member of that name, or nil.
func (r *Request) Find(name string) *Member {
	for i := range r.Members {
		if string(r.Members[i].Name) == name {
			return &r.Members[i]
		}
	}
	return nil
}
