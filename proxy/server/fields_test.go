package server

import (
	"bytes"
	"testing"

	"github.com/valyala/fasthttp"

	"sluice/proxy/llm"
)

// TestSetFields: what goes in at once is written as what goes in one by one, and
// no line end of a value ends a line.
func TestSetFields(t *testing.T) {
	field := func(name, value string) llm.Field { return llm.Field{Name: []byte(name), Value: []byte(value)} }
	for _, fields := range [][]llm.Field{
		nil,
		{field("x-one", "1")},
		{field("x-one", "1"), field("x-two", "2"), field("x-three", "")},
		{field("x-one", "1\r\nx-evil: 1"), field("x-two", "2")},
		{field("x-one", "1\n"), field("x-two", "2")},
		{field("x-one", "1"), field("x-two", "2\r\nx-evil: 1")},
		{field("x-one", "1\r2"), field("x-two", "2")},
	} {
		var at, each fasthttp.ResponseHeader
		setFields(&at, nil, fields)
		for _, f := range fields {
			each.SetCanonical(f.Name, f.Value)
		}
		if got, want := at.AppendBytes(nil), each.AppendBytes(nil); !bytes.Equal(got, want) || bytes.Contains(got, []byte("\nx-evil")) {
			t.Errorf("%q: written as\n%q, want\n%q", fields, got, want)
		}
	}
}

func BenchmarkSetFields(b *testing.B) {
	var fields []llm.Field
	for i := range 36 {
		fields = append(fields, llm.Field{Name: []byte("x-ratelimit-api_key-remaining-" + string(rune('a'+i))), Value: []byte("999999999")})
	}
	var h fasthttp.ResponseHeader
	var out []byte
	b.Run("at once", func(b *testing.B) {
		var scratch []byte
		for b.Loop() {
			h.Reset()
			scratch = setFields(&h, scratch, fields)
			out = h.AppendBytes(out[:0])
		}
	})
	b.Run("one by one", func(b *testing.B) {
		for b.Loop() {
			h.Reset()
			for _, f := range fields {
				h.SetCanonical(f.Name, f.Value)
			}
			out = h.AppendBytes(out[:0])
		}
	})
}
