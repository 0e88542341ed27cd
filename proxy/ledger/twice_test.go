package ledger_test

import (
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/proxy/journal"
	"sluice/proxy/ledger"
)

// TestIntentTwice reads an intent once more in a later segment, as it stands where
// one could not be brought to the disk and its records were written again: the
// attempt is one, and nothing holds the first segment.
func TestIntentTwice(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	c := journalConfig(dir, 1)
	c.Bound = 1 << 20 // segments of 256 KiB
	w := newLoadOf(t, c, tr)
	twice := []id{w.intent(), w.intent()}
	w.settled(1500)
	for _, k := range twice {
		w.begin(k)
	}
	w.settle(twice[0])
	now, lc := &clock{}, config(d, dir)
	lc.Now = now.now
	stop := running(t, ledger.New(lc))
	await(t, func() bool { return d.count(t) == "1501" })
	await(t, func() bool {
		now.add(time.Second) // cursors alone wait for ten
		segments, err := journal.Scan(dir)
		return err == nil && len(segments) > 1 && segments[0].Shipped == segments[0].Committed
	})
	stop()
	w.settle(twice[1]) // the next one to ship finds the intent behind the cursor of the second segment
	w.close()
	flush(t, newLedger(d, dir))
	mustMatch(t, d, tr)
	segments, err := journal.Scan(dir)
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	for _, s := range segments {
		if s.Shipped != s.Committed {
			t.Errorf("segment %d is told to be shipped up to %d of %d", s.Number, s.Shipped, s.Committed)
		}
	}
}

// TestNotMarked begins where segments do not say that they were shipped, as after a
// death between commit and mark, or a power cut: they are told, or they would
// count towards the bound and stay for ever.
func TestNotMarked(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	first, second := newLoad(t, dir, 1, tr), newLoad(t, dir, 2, tr)
	first.settled(20)
	first.close()
	second.settled(20)
	marked := func() (segments []*journal.Segment, n int) {
		segments, err := journal.Scan(dir)
		if err != nil || len(segments) != 2 {
			t.Fatal(segments, err)
		}
		for _, s := range segments {
			if s.Shipped == s.Committed {
				n++
			}
		}
		return segments, n
	}
	stop := running(t, newLedger(d, dir))
	await(t, func() bool { _, n := marked(); return d.count(t) == "40" && n == 2 })
	stop()
	segments, _ := marked()
	for _, s := range segments {
		if err := s.MarkShipped(journal.Start); err != nil {
			t.Fatal(err)
		}
	}
	running(t, newLedger(d, dir))
	await(t, func() bool { _, n := marked(); return n == 2 })
	second.close()
}
