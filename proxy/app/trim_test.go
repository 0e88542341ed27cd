package app

import "testing"

func TestTrimDue(t *testing.T) {
	const mb = 1 << 20
	var tr trimmer
	for _, step := range []struct {
		name     string
		resident uint64
		requests uint64
		due      bool
		after    uint64 // resident after the trim
	}{
		{"the start", 5 * mb, 0, true, 4 * mb},
		{"too early for the second", 5 * mb, 0, false, 0},
		{"still", 5 * mb, 0, false, 0},
		{"still", 5 * mb, 0, false, 0},
		{"what the start left behind it", 5 * mb, 0, true, 20 * mb},
		{"a little growth", 26 * mb, 50, false, 0},
		{"a burst under way", 200 * mb, 5000, false, 0},
		{"the burst is over", 200 * mb, 5010, true, 180 * mb},
		{"what is left stays", 200 * mb, 5010, false, 0},
		{"fallen by itself", 100 * mb, 5010, false, 0},
		{"grown again, busy", 160 * mb, 9000, false, 0},
		{"grown again, quiet", 160 * mb, 9100, true, 90 * mb},
		{"too early for the second", 90 * mb, 9100, false, 0},
		{"still", 90 * mb, 9100, false, 0},
		{"still", 90 * mb, 9100, false, 0},
		{"the second", 90 * mb, 9100, true, 30 * mb},
		{"and so on, while it helps", 30 * mb, 9100, false, 0},
		{"a little more", 36 * mb, 9110, false, 0},
		{"too early for another", 36 * mb, 9120, false, 0},
		{"another", 37 * mb, 9130, true, 36 * mb},
		{"more, but not a quarter", 43 * mb, 9150, false, 0},
		{"not calm yet", 43 * mb, 9160, false, 0},
		{"not calm yet", 43 * mb, 9170, false, 0},
		{"not calm yet", 44 * mb, 9180, false, 0},
		{"calm", 44 * mb, 9190, true, 43 * mb},
		{"once", 44 * mb, 9200, false, 0},
	} {
		due := tr.due(step.resident, step.requests)
		if due != step.due {
			t.Errorf("%s: due %v, want %v", step.name, due, step.due)
		}
		if due {
			tr.trimmed(step.resident, step.after)
		}
	}
}
