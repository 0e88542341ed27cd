package gateway

import (
	"bytes"
	"testing"
	"unsafe"
)

// TestExchangeSize: there is one for each open stream.
func TestExchangeSize(t *testing.T) {
	if size := unsafe.Sizeof(Exchange{}); size > 4<<10 {
		t.Errorf("an exchange has %d bytes, want %d at most", size, 4<<10)
	} else {
		t.Logf("%d bytes", size)
	}
}

// TestGoOn: while a stream goes on nothing of its exchange lies in the memory of
// the request's header, nor in that of its own answer's.
func TestGoOn(t *testing.T) {
	lines := []byte("call-1 customer-1 session-1 {\"a\":1} ")
	part := func(from, n int) []byte { return lines[from : from+n] }
	x := &Exchange{}
	x.Reset()
	x.borrow()
	x.CallID, x.EndUser, x.Said.Session, x.metadata = part(0, 6), part(7, 10), part(18, 9), part(28, 7)
	x.model = x.keep([]byte(`"mine"`))
	x.add(headModelID, x.keep([]byte("d1")))
	lent := x.lent
	x.GoOn()
	clear(lines)
	clear(lent.scratch[:cap(lent.scratch)])
	if !bytes.Equal(x.CallID, []byte("call-1")) || string(x.EndUser) != "customer-1" || string(x.Said.Session) != "session-1" ||
		string(x.metadata) != `{"a":1}` || string(x.model) != `"mine"` || x.Header != nil || x.scratch != nil || x.lent != nil {
		t.Errorf("%q %q %q %q %q", x.CallID, x.EndUser, x.Said.Session, x.metadata, x.model)
	}
	x.Reset()
	x.CallID = x.ID[:]
	if x.GoOn(); &x.CallID[0] != &x.ID[0] {
		t.Error("an id of our own was copied")
	}
}
