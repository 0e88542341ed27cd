//go:build e2e

package e2e

import (
	"flag"
	"os"
	"testing"
	"time"
)

var (
	full         = flag.Bool("full", false, "full lengths and counts instead of those of CI")
	racePrograms = flag.Bool("race-programs", false, "boot programs that are built with the race detector")
)

func TestMain(m *testing.M) {
	if probing() {
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

// length is what a test lasts, or how often it does something: ci normally,
// soak with -full.
func length[T int | time.Duration](ci, soak T) T {
	if *full {
		return soak
	}
	return ci
}

// boot is Boot with the variant that the flags ask for.
func boot(t *testing.T, o Options) *Appliance {
	t.Helper()
	if o.Variant == "" && *racePrograms {
		o.Variant = Race
	}
	return Boot(t, o)
}
