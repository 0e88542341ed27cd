package boot

import "testing"

// The program runs on after its code was given back.
func TestForgetStart(t *testing.T) {
	for range 3 {
		ForgetStart()
	}
	if got := describe("still here"); got != "still here" {
		t.Errorf("got %q", got)
	}
}
