package auth

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// welch is Welch's t of two samples.
func welch(a, b []float64) float64 {
	mean := func(s []float64) (m, v float64) {
		for _, x := range s {
			m += x
		}
		m /= float64(len(s))
		for _, x := range s {
			v += (x - m) * (x - m)
		}
		return m, v / float64(len(s)-1)
	}
	ma, va := mean(a)
	mb, vb := mean(b)
	return (ma - mb) / math.Sqrt(va/float64(len(a))+vb/float64(len(b)))
}

// naive is the mistake that the test is there to find: it compares with the
// real key character by character and stops at the first that differs.
func naive(key, secret []byte) (same bool) {
	for i := range min(len(key), len(secret)) {
		if key[i] != secret[i] {
			return false
		}
	}
	return len(key) == len(secret)
}

const keyLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func randomKey(rng *rand.Rand, like []byte, shared int) []byte {
	k := []byte("sk-")
	for len(k) < 60 {
		k = append(k, keyLetters[rng.IntN(len(keyLetters))])
	}
	copy(k[3:], like[3:3+shared])
	return k
}

// An unknown key takes as long whether it shares nothing or forty characters
// with a key that exists. The database does not answer meanwhile, so that what
// is measured is what this process does.
func TestTimeSaysNothingAboutKeys(t *testing.T) {
	const each = 50_000
	rng := rand.New(rand.NewPCG(1, 2))
	secret := randomKey(rng, make([]byte, 60), 0)
	src := newSource()
	src.key(string(secret), nil)
	r := newRig(t, src, nil)
	r.good(string(secret))
	src.fails(errAway)
	eventually(t, "nobody waits for the database", func() bool {
		r.refused("sk-to-find-out", 503, "db_unavailable")
		return r.dir.failures.Load() >= 2
	})
	measure := func(bad bool) float64 {
		var took [2][]float64
		for range each {
			for _, class := range rng.Perm(2) {
				key := randomKey(rng, secret, class*40)
				from := time.Now()
				if bad && naive(key, secret) {
					t.Fatal("the same key")
				}
				_, err := r.Identify(key)
				d := time.Since(from)
				if err == nil {
					t.Fatal("let in")
				}
				took[class] = append(took[class], float64(d))
			}
		}
		// What interrupted the process says nothing about keys.
		all := slices.Concat(took[0], took[1])
		slices.Sort(all)
		most := all[len(all)*9/10]
		for i := range took {
			took[i] = slices.DeleteFunc(took[i], func(x float64) bool { return x > most })
		}
		return math.Abs(welch(took[0], took[1]))
	}
	best := math.Inf(1)
	for range 3 { // a leak shows every time, chance does not
		if best = min(best, measure(false)); best < 4.5 {
			break
		}
	}
	seen := measure(true)
	t.Logf("show: Welch's t %.2f over %d keys, %.2f with a comparison that leaks", best, 2*each, seen)
	if best >= 4.5 {
		t.Errorf("t = %.2f: the time depends on what a key has in common with a real one", best)
	}
	if seen < 4.5 {
		t.Errorf("t = %.2f: this test would not see a comparison that leaks", seen)
	}
}
