package bill

import "testing"

func TestNames(t *testing.T) {
	for k := KindNone; k < kinds; k++ {
		if got := KindNamed(k.String()); got != k {
			t.Errorf("%d is %q, which is %d", k, k, got)
		}
	}
	if KindNamed("nobody") != KindNone || kinds.String() != "unknown" || statuses.String() != "unknown" {
		t.Error("an unknown kind or status has a name")
	}
	if StatusRejected.String() != "rejected" || len(statusNames) != int(statuses) {
		t.Error("statuses and their names differ")
	}
}
