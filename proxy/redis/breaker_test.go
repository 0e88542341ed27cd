package redis

import (
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	b := breaker{slow: 25 * time.Millisecond}
	if first, opened := b.failed(); !first || opened || b.is() != suspect {
		t.Fatalf("a first failure: %v %v, state %d", first, opened, b.is())
	}
	for i := range mostFails - 2 {
		if first, opened := b.failed(); first || opened {
			t.Fatalf("failure %d: %v %v", i+2, first, opened)
		}
	}
	if _, opened := b.failed(); !opened || b.is() != open {
		t.Fatalf("the fifth in a row: state %d", b.is())
	}
	if _, opened := b.failed(); opened {
		t.Error("it opens twice")
	}
	b.reset()
	for range 3 {
		b.failed()
		b.passed(1, time.Millisecond)
	}
	if b.is() == open {
		t.Error("failures that are not in a row open it")
	}
}

func TestBreakerSlow(t *testing.T) {
	second := func(b *breaker, from int64, calls, slowOnes int) bool {
		opened := false
		for i := range calls {
			took := time.Millisecond
			if i < slowOnes {
				took = 30 * time.Millisecond
			}
			opened = b.passed(from+int64(i)*int64(time.Second)/int64(calls), took) || opened
		}
		return opened
	}
	for _, c := range []struct {
		name        string
		calls, slow int
		want        bool
	}{
		{"all slow", 20, 20, true},
		{"two in a hundred", 1000, 20, true},
		{"one in a hundred", 1000, 10, false},
		{"a hiccup of a quiet host", 6, 4, false},
		{"none", 1000, 0, false},
	} {
		b := breaker{slow: 25 * time.Millisecond}
		now := int64(time.Hour)
		second(&b, now, c.calls, c.slow)
		got := second(&b, now+int64(time.Second), c.calls, 0)
		if got != c.want || (b.is() == open) != c.want {
			t.Errorf("%s: opened %v, state %d", c.name, got, b.is())
		}
	}
	b := breaker{slow: 25 * time.Millisecond}
	second(&b, int64(time.Hour), 20, 20)
	if second(&b, int64(2*time.Hour), 20, 0) {
		t.Error("a second of an hour ago counts")
	}
}
