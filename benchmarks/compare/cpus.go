package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// cpus says which processors a contender runs on, and which the upstream and the
// load. Where they share them, a write that wakes its reader up is followed by
// that reader on the writer's processor, and the writer pays for the way back:
// what is measured then is the scheduler, and dearer for who is slower.
type cpus struct {
	contender, others unix.CPUSet
	apart             bool
}

// splitCPUs gives the upper half of our processors to the contenders. With one
// processor, or when told to, all share all.
func splitCPUs(share bool) (*cpus, error) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, fmt.Errorf("look up the processors: %w", err)
	}
	if share || all.Count() < 2 {
		return &cpus{contender: all, others: all}, nil
	}
	c := halves(all)
	return c, c.keep()
}

// halves gives the contenders the upper half, and the odd one.
func halves(all unix.CPUSet) *cpus {
	c := &cpus{contender: all, others: all, apart: true}
	for cpu, seen := 0, 0; seen < all.Count(); cpu++ {
		if !all.IsSet(cpu) {
			continue
		}
		if seen < all.Count()/2 {
			c.contender.Clear(cpu)
		} else {
			c.others.Clear(cpu)
		}
		seen++
	}
	return c
}

// keep puts ourselves onto the processors of the load, with every thread that
// we have and will have.
func (c *cpus) keep() error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list our threads: %w", err)
	}
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(id, &c.others); err != nil {
			return fmt.Errorf("bind a thread to the processors of the load: %w", err)
		}
	}
	return nil
}

// start starts a process on the processors that it is to have: a child has those
// of the thread that starts it, and we have those of the load.
func (c *cpus) start(p *process) error {
	if !c.apart || p.upstream {
		return p.cmd.Start()
	}
	runtime.LockOSThread()
	if err := unix.SchedSetaffinity(0, &c.contender); err != nil {
		return fmt.Errorf("bind to the processors of a contender: %w", err)
	}
	err := p.cmd.Start()
	if back := unix.SchedSetaffinity(0, &c.others); back != nil {
		return fmt.Errorf("bind to the processors of the load: %w", back) // the thread ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

func (c *cpus) String() string {
	if !c.apart {
		return fmt.Sprintf("%d, shared by contenders, upstream and load", c.contender.Count())
	}
	return fmt.Sprintf("%d of a contender, %d of upstream and load", c.contender.Count(), c.others.Count())
}
