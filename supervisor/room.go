package main

import (
	"fmt"

	"sluice/supervisor/fleet"
)

// What an appliance needs to serve at all, in bytes: supervisor, healthd and the
// host table, and each worker with its successor beside it for a moment.
// docs/performance.md has what an idle one takes: 20 MB and 14 MB a worker.
const (
	leastBase   = 32 << 20
	leastWorker = 48 << 20
)

// fitting is for how many workers there is memory.
func fitting(memory uint64) int {
	if memory < leastBase {
		return 0
	}
	return int(min((memory-leastBase)/leastWorker, fleet.MaxSlots))
}

// room refuses more workers than there is memory for: they would be recycled
// for their size all the time, or killed.
func (p *plan) room() error {
	least := leastBase + uint64(p.slots)*leastWorker
	if p.memory >= least {
		return nil
	}
	advice := fmt.Sprintf("give it %d MB", least>>20)
	if n := fitting(p.memory); n > 0 {
		advice += fmt.Sprintf(", or --num_workers %d", n)
	}
	return fmt.Errorf("too little memory: %d workers need %d MB, and there are %d MB: %s", p.slots, least>>20, p.memory>>20, advice)
}
