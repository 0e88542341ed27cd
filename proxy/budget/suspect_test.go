package budget

import (
	"testing"

	"sluice/supervisor/fleet"
)

// A lease of which everything was shipped, which was added to and spent again, is
// no rest that nobody uses, although it is what it was: what was spent since waits.
func TestSpentAgainIsNoRest(t *testing.T) {
	table := newTable(t)
	r, _ := table.Leases().Find(7)
	a, suspects, shipped := account{r}, map[uint64]suspect{}, int64(0)
	b := &Budgets{c: Config{Shipped: func() int64 { return shipped }}}
	if b.suspicious(suspects, 7, 3*cent, a, false) {
		t.Fatal("suspicious at the first look")
	}
	shipped = fleet.Now() + 1
	a.add(3 * cent)
	a.Touch(r.Used() + 1) // an attempt reserves it all, and spends it
	a.add(-3 * cent)
	if b.suspicious(suspects, 7, 3*cent, a, false) {
		t.Error("what was spent a moment ago is given back")
	}
	if b.suspicious(suspects, 7, 3*cent, a, false) {
		t.Error("what was spent since is not shipped")
	}
	if shipped = fleet.Now() + 1; !b.suspicious(suspects, 7, 3*cent, a, false) {
		t.Error("a rest that nobody uses stays")
	}
}
