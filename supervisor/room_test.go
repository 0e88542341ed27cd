package main

import (
	"strings"
	"testing"

	"sluice/internal/env"
)

// The memory of a plan: what was asked for is refused where it does not fit,
// what nobody asked for is made to fit.
func TestRoom(t *testing.T) {
	for _, c := range []struct {
		name, asked  string
		cpus, slots  int
		memory       uint64 // MB
		refused      bool
		inTheMessage string
	}{
		{"enough", "2", 4, 2, 128, false, ""},
		{"asked for too many", "8", 4, 8, 256, true, "too little memory: 8 workers need 416 MB, and there are 256 MB: give it 416 MB, or --num_workers 4"},
		{"too little for one", "1", 4, 1, 64, true, "too little memory: 1 workers need 80 MB, and there are 64 MB: give it 80 MB"},
		{"many CPUs, little memory", "", 32, 4, 256, false, ""},
		{"as many as CPUs", "auto", 4, 4, 8192, false, ""},
		{"counted, and too little for one", "", 4, 1, 48, true, "give it 80 MB"},
	} {
		p, err := newPlan(env.Parse([]byte("NUM_WORKERS="+c.asked)), machine{cpus: c.cpus, memory: c.memory << 20})
		if err != nil || p.slots != c.slots {
			t.Errorf("%s: %d slots, %v; want %d", c.name, p.slots, err, c.slots)
			continue
		}
		if err := p.room(); (err != nil) != c.refused || err != nil && !strings.HasSuffix(err.Error(), c.inTheMessage) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
