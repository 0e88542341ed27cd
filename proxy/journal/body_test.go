package journal

import (
	"bytes"
	"testing"
)

// TestBodies: bodies have a bound of their own, beyond which they are dropped
// and counted; records about money do not notice.
func TestBodies(t *testing.T) {
	c := config(t)
	c.BodyBound = 1 << 20
	w := open(t, c)
	const each, number = 100 << 10, 40
	text := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, each)...), '"')
	for n := range number {
		must(t, w.Intent(intent(n), priced))
		w.Body(id(n), int64(n), text, nil, []byte(`{}`))
		must(t, w.Settle(id(n), 0, settle(n)))
	}
	w.Body(id(0), 0, bytes.Repeat([]byte{'x'}, bodyMax), nil, nil) // longer than a record may be
	must(t, w.Close())
	w.Body(id(0), 0, text, nil, nil) // closed
	s := w.Stats()
	records := read(t, c.Dir)
	got := only[*Body](records)
	if len(got) == 0 || int64(len(got)) != s.Bodies || s.Bodies+s.BodiesLost != number+2 || len(got) > (1<<20)/each+1 {
		t.Errorf("%d bodies were read; %+v", len(got), s)
	}
	for _, b := range got {
		if b.RequestID != id(int(b.Attempt)) || !bytes.Equal(b.Messages, text) || string(b.Metadata) != "{}" || b.Response != nil {
			t.Errorf("a body of request %d has %d bytes", b.Attempt, len(b.Messages))
		}
	}
	if len(only[*Settle](records)) != number || s.Unshipped > 1<<20 {
		t.Errorf("bodies are in the way of money: %+v", s)
	}
}

// TestNoBodies: none are kept where the bound says so.
func TestNoBodies(t *testing.T) {
	c := config(t)
	c.BodyBound = -1
	w := open(t, c)
	w.Body(id(1), 0, []byte(`{}`), nil, nil)
	must(t, w.Close())
	if s := w.Stats(); s.Bodies != 0 || s.BodiesLost != 1 {
		t.Errorf("figures are %+v", s)
	}
}
