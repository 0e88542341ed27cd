package sse

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

func collect(b []byte) (data []string, rest string) {
	for {
		e, ok := Next(b, 0)
		if !ok {
			return data, string(b)
		}
		switch {
		case e.Lines == 1:
			data = append(data, string(e.Data.Of(b)))
		case e.Lines > 1:
			data = append(data, string(AppendData(nil, b[:e.Len])))
		}
		b = b[e.Len:]
	}
}

func TestNext(t *testing.T) {
	for _, c := range []struct{ name, in, data, rest string }{
		{"plain", "data: a\n\ndata: b\n\n", "a|b", ""},
		{"no space", "data:a\n\n", "a", ""},
		{"two spaces", "data:  a\n\n", " a", ""},
		{"unfinished", "data: a\n\ndata: b\n", "a", "data: b\n"},
		{"crlf", "data: a\r\n\r\ndata: b\r\n\r\n", "a|b", ""},
		{"cr", "data: a\r\rdata: b\r\r", "a|b", ""},
		{"mixed", "data: a\r\n\ndata: b\n\r\n", "a|b", ""},
		{"comment", ": ping\n\ndata: a\n\n", "a", ""},
		{"fields", "event: x\nid: 1\ndata: a\nretry: 5\n\n", "a", ""},
		{"several lines", "data: a\ndata:b\ndata\ndata: c\n\n", "a\nb\n\nc", ""},
		{"empty data", "data:\n\n", "", ""},
		{"other field", "database: a\n\ndata: b\n\n", "b", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, rest := collect([]byte(c.in))
			if got := strings.Join(data, "|"); got != c.data || rest != c.rest {
				t.Fatalf("got %q and %q, want %q and %q", got, rest, c.data, c.rest)
			}
		})
	}
}

// FuzzNext cuts a stream anywhere: the events must be those of the whole, and
// the data what a line reader finds.
func FuzzNext(f *testing.F) {
	f.Add([]byte("data: a\n\ndata: b\n\n"), 3)
	f.Add([]byte(": x\r\n\r\ndata: a\r\ndata: b\r\n\r\n"), 12)
	f.Add([]byte("data: a\r\rdata: b\r\r"), 8)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		data, rest := collect(b)
		total := len(rest)
		for left := b; ; {
			e, ok := Next(left, 0)
			if !ok {
				break
			}
			if e.Len <= 0 || e.Data.To > e.Len || e.Data.From > e.Data.To {
				t.Fatalf("event %+v", e)
			}
			total += e.Len
			left = left[e.Len:]
		}
		if total != len(b) {
			t.Fatalf("%d bytes of %d accounted for", total, len(b))
		}
		if cut < 0 || cut > len(b) {
			return
		}
		head, tail := collect(b[:cut])
		more, _ := collect(append([]byte(tail), b[cut:]...))
		if got := append(head, more...); strings.Join(got, "|") != strings.Join(data, "|") {
			t.Fatalf("cut at %d: %q, whole: %q", cut, got, data)
		}
		if bytes.IndexByte(b, '\r') < 0 && strings.Join(data, "|") != strings.Join(reference(b), "|") {
			t.Fatalf("got %q, line by line %q", data, reference(b))
		}
	})
}

func reference(b []byte) (data []string) {
	r := bufio.NewReader(bytes.NewReader(b))
	var lines []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return data
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			if lines != nil {
				data = append(data, strings.Join(lines, "\n"))
			}
			lines = nil
			continue
		}
		if line == "data" {
			lines = append(lines, "")
		} else if v, ok := strings.CutPrefix(line, "data:"); ok {
			lines = append(lines, strings.TrimPrefix(v, " "))
		}
	}
}

func BenchmarkNext(b *testing.B) {
	in := []byte("data: " + strings.Repeat("x", 240) + "\n\n")
	for b.Loop() {
		if _, ok := Next(in, 0); !ok {
			b.Fatal("none")
		}
	}
}
