package gateway

import (
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
