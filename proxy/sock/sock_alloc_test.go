//go:build !race

package sock

import "testing"

func TestAllocations(t *testing.T) {
	s, _, peer := pair(t)
	b := make([]byte, 64)
	got := testing.AllocsPerRun(100, func() {
		if _, err := s.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := peer.Read(b); err != nil {
			t.Fatal(err)
		}
		s.Silent()
		if _, err := peer.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(b); err != nil {
			t.Fatal(err)
		}
	})
	if got > 0 {
		t.Errorf("%v allocations for a write, a look and a read, want none", got)
	}
}
