package gateway

import (
	"testing"
	"time"
)

// TestRetryAfter: the same deployment is tried again after retry_after at the
// earliest, another one at once.
func TestRetryAfter(t *testing.T) {
	const least = 150 * time.Millisecond
	b := newBench(t, func(c *Config) {
		c.Retries, c.RetryAfter = 1, least
		c.Rand = func(uint64) uint64 { return 0 }
	}, "one=s503", "two=s503|ok")
	start := time.Now()
	if x, _, _, e := b.run(t, request("two", "r1", false, false)); e != nil || x.Attempts != 2 || time.Since(start) > least {
		t.Errorf("another deployment: %d attempts, %v after %v", x.Attempts, e, time.Since(start))
	}
	start = time.Now()
	if x, _, _, e := b.run(t, request("one", "r2", false, false)); e == nil || x.Attempts != 2 || time.Since(start) < least {
		t.Errorf("the same deployment: %d attempts, %v after %v", x.Attempts, e, time.Since(start))
	}
}
