package ledger_test

import (
	"testing"

	"sluice/internal/dbtest"
)

// TestTurnsBetweenLooks writes on in another segment between two listings, so that
// nobody has those open any more that are known: the process lives, and what it
// writes then is read.
func TestTurnsBetweenLooks(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	c := journalConfig(dir, 1)
	c.Bound = 1 << 20 // segments of 256 KiB
	w := newLoadOf(t, c, tr)
	stop := running(t, newLedger(d, dir))
	w.settled(1)
	await(t, func() bool { return d.count(t) == "1" })
	w.settled(3000)
	await(t, func() bool { return d.count(t) == "3001" })
	w.settled(5)
	await(t, func() bool { return d.count(t) == "3006" })
	if s := w.w.Stats(); s.Moved != 0 || s.Segments < 3 {
		t.Errorf("figures are %+v", s)
	}
	w.close()
	stop()
	flush(t, newLedger(d, dir))
	mustMatch(t, d, tr)
}
