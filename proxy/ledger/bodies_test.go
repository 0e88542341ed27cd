package ledger_test

import (
	"testing"

	"sluice/internal/dbtest"
	"sluice/proxy/journal"
)

// TestBodiesOfTheDead removes what a killed process has kept of requests once it
// is in the database: else such files come up to the bound, and none is kept any
// more. What a living one writes stays.
func TestBodiesOfTheDead(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	w.settled(2)
	k := w.intent()
	w.w.Body(k.request, k.attempt, []byte(`["q"]`), []byte(`"a"`), nil)
	w.settle(k)
	bodies := func(dir string) (n int) {
		segments, err := journal.Scan(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range segments {
			if s.Body && s.Committed > journal.Start {
				n++
			}
		}
		return n
	}
	await(t, func() bool { return bodies(dir) == 1 })
	dead := killed(t, dir)
	flush(t, newLedger(d, dead))
	if got := d.texts(t, "SELECT CAST(count(*) AS TEXT) FROM sluice.spend_bodies")[0][0]; got != "1" || bodies(dead) != 0 {
		t.Errorf("%s bodies are in the database, %d segments of them are left", got, bodies(dead))
	}
	flush(t, newLedger(d, dir))
	if bodies(dir) != 1 {
		t.Error("what a living process writes was removed")
	}
	w.close()
	flush(t, newLedger(d, dir))
	if bodies(dir) != 0 {
		t.Error("bodies of a process that stopped are left")
	}
	mustMatch(t, d, tr)
}
