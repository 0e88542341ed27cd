package app

import (
	"testing"
	"time"
)

func TestPanicWindow(t *testing.T) {
	second := int64(time.Second)
	for _, c := range []struct {
		name string
		at   []int64
		want bool
	}{
		{"four at once", []int64{0, 0, 0, 0}, false},
		{"five at once", []int64{0, 0, 0, 0, 0}, true},
		{"five in a minute", []int64{0, 10 * second, 20 * second, 30 * second, 60 * second}, true},
		{"five in more than a minute", []int64{0, 10 * second, 20 * second, 30 * second, 61 * second}, false},
		{"the last five count", []int64{0, 100 * second, 101 * second, 102 * second, 103 * second, 104 * second}, true},
		{"slow ones never", []int64{0, 20 * second, 40 * second, 60 * second, 80 * second, 100 * second, 120 * second}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p panicWindow
			got := false
			for _, at := range c.at {
				got = p.add(at)
			}
			if got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
