package fleet

import (
	"fmt"
	"testing"
)

func TestEarlier(t *testing.T) {
	table, _ := newTestTable(t, 1)
	e := &table.Header().Earlier
	life := func(n int) string { return fmt.Sprintf("%016x%016x", n+1, 7) }
	if e.known() || e.Shipped(life(0)) {
		t.Error("nobody has said anything, and it is taken for shipped")
	}
	left := map[string]struct{}{life(3): {}, life(5): {}}
	e.Tell(left)
	for n, want := range map[int]bool{0: true, 3: false, 4: true, 5: false} {
		if got := e.Shipped(life(n)); got != want {
			t.Errorf("life %d is shipped: %v", n, got)
		}
	}
	if e.Shipped("") || e.Shipped("g"+life(0)[1:]) {
		t.Error("what is no name of a life is shipped")
	}
	delete(left, life(3))
	if e.Tell(left); !e.Shipped(life(3)) || e.Shipped(life(5)) {
		t.Error("it does not forget who has nothing left, or forgets too much")
	}
	for n := range earlierMost + 1 {
		left[life(100+n)] = struct{}{}
	}
	if e.Tell(left); e.known() || e.Shipped(life(0)) {
		t.Error("more lives than it can name, and it knows")
	}
	if e.Tell(nil); !e.Shipped(life(5)) {
		t.Error("nothing is left, and it does not know")
	}
	e.told.Store(Now() - int64(earlierFresh) - 1)
	if e.known() || e.Shipped(life(0)) {
		t.Error("an old word is believed")
	}
	e.Tell(nil)
	if e.Forget(); e.known() {
		t.Error("it was told to forget")
	}
}
