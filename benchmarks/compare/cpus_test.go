package main

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestHalves(t *testing.T) {
	set := func(list ...int) (s unix.CPUSet) {
		for _, cpu := range list {
			s.Set(cpu)
		}
		return s
	}
	for _, c := range []struct{ all, contender, others unix.CPUSet }{
		{set(0, 1), set(1), set(0)},
		{set(1, 4, 70), set(4, 70), set(1)},
		{set(2, 3, 8, 9), set(8, 9), set(2, 3)},
	} {
		if got := halves(c.all); got.contender != c.contender || got.others != c.others {
			t.Errorf("%v is split into %v and %v", c.all, got.contender, got.others)
		}
	}
}
