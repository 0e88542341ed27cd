package boot

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// Times and floats have ways of their own; they must write what the standard
// library writes.
func TestAppendTime(t *testing.T) {
	const layout = "2006-01-02T15:04:05.000000Z"
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Date(2024, 2, 29, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(2026, 11, 1, 1, 2, 3, 4_005_006, time.FixedZone("east", 3*3600)),
	} {
		if got, want := string(appendTime(nil, at)), at.UTC().Format(layout); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for range 1000 {
		at := time.Unix(rand.Int64N(4e9), rand.Int64N(1e9))
		if got, want := string(appendTime(nil, at)), at.UTC().Format(layout); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func TestAppendFloat(t *testing.T) {
	check := func(f float64) {
		t.Helper()
		if got, want := string(appendFloat(nil, false, f)), strconv.FormatFloat(f, 'g', -1, 64); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	for _, f := range []float64{0, math.Copysign(0, -1), 0.001, 0.0001, 1.373, 0.1, 1, 10, 999.999, 1e9, 1e20, 1e21, 1e300, -1.5, 0.0005, 1.0005} {
		check(f)
	}
	for range 10000 {
		check(float64(rand.Int64N(1e9)) / 1000)
		check(rand.ExpFloat64())
	}
}
