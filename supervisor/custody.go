package main

import (
	"fmt"
	"log/slog"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
)

// custody completes what the supervisor holds: the host table, a doorbell for
// each slot, and the listeners. What orphans, an earlier self or systemd hand
// over is used; only what nobody held is made.
func (a *appliance) custody(past inheritance) error {
	stored := a.notify.stored()
	if err := a.ownTable(past, stored); err != nil {
		return err
	}
	slots := a.table.Slots()
	if slots != a.plan.slots {
		a.log.Warn("the number of workers is that of the running appliance until it has stopped as a whole",
			slog.Int("asked", a.plan.slots), slog.Int("slots", slots))
	}
	for slot := range slots {
		if fd, ok := a.heldBell(slot, past); ok {
			a.bells[slot] = fd
			continue
		}
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return fmt.Errorf("make doorbell: %w", err)
		}
		a.bells[slot] = fd
	}
	candidates := a.heldSockets(past, stored)
	for i := range a.plan.endpoints {
		all := make([]int, slots)
		for slot := range all {
			all[slot] = slot
		}
		if err := a.own(&a.plan.endpoints[i], all, candidates); err != nil {
			return err
		}
	}
	if err := a.own(&a.plan.health, []int{-1}, candidates); err != nil {
		return err
	}
	a.closeUnused(candidates)
	a.store()
	a.checkMigrate()
	return nil
}

// ownTable takes the host table over, or makes one.
func (a *appliance) ownTable(past inheritance, stored []storedFD) error {
	candidates := []int{}
	if past.Table > 0 {
		candidates = append(candidates, past.Table)
	}
	for _, l := range a.orphans {
		for i, h := range l.held {
			if h.m.Held == fleet.KindTable {
				candidates = append(candidates, h.fd)
				l.held[i].fd = -1
			}
		}
	}
	for _, s := range stored {
		if s.name == storeTable {
			candidates = append(candidates, s.fd)
		}
	}
	for _, fd := range candidates {
		if a.table == nil {
			t, err := fleet.OpenTable(fd, false)
			if err == nil {
				a.table, a.tableFD = t, fd
				continue
			}
			a.log.Warn("host table of an earlier supervisor cannot be used", slog.String("error", err.Error()))
		}
		_ = syscall.Close(fd)
	}
	if a.table != nil {
		return setCloexec(a.tableFD, true)
	}
	fd, err := memfd("host-table", nil)
	if err != nil {
		return err
	}
	a.tableFD = fd
	a.table, err = fleet.NewTable(fd, a.plan.slots)
	return err
}

func (a *appliance) heldBell(slot int, past inheritance) (int, bool) {
	found := -1
	if fd, ok := past.Bells[slot]; ok {
		found = fd
	}
	for _, l := range a.orphans {
		for i, h := range l.held {
			if found < 0 && h.m.Held == fleet.KindDoorbell && h.m.Slot == slot && h.fd >= 0 {
				found, l.held[i].fd = h.fd, -1
			}
		}
	}
	if found >= 0 {
		_ = setCloexec(found, true)
	}
	return found, found >= 0
}

// heldSockets lists the listeners that others handed over.
func (a *appliance) heldSockets(past inheritance, stored []storedFD) *[]socket {
	out := []socket{}
	add := func(l fleet.Listener, fd int) {
		if err := checkSocket(fd); err != nil {
			a.log.Warn("inherited listener cannot be used", slog.String("name", l.Name), slog.String("error", err.Error()))
			return
		}
		_ = setCloexec(fd, true)
		out = append(out, socket{Listener: l, fd: fd})
	}
	for _, s := range past.Sockets {
		add(s.Listener, s.FD)
	}
	for _, l := range a.orphans {
		for i, h := range l.held {
			if h.fd >= 0 && h.m.Held == fleet.KindListener && h.m.Listener != nil && h.m.Listener.Network == "tcp" {
				reopen(h.fd)
			}
			if h.m.Held == fleet.KindListener && h.m.Listener != nil && h.fd >= 0 {
				add(*h.m.Listener, h.fd)
				l.held[i].fd = -1
			}
		}
	}
	for _, s := range stored {
		if s.listener != nil {
			if s.listener.Network == "tcp" && s.listener.Slot != anySlot {
				reopen(s.fd)
			}
			add(a.placed(*s.listener), s.fd)
		}
	}
	return &out
}

// placed gives a socket of a socket unit the name of an endpoint: units are
// named after themselves unless told otherwise. Then the port decides, and
// what has none of ours is the main listener.
func (a *appliance) placed(l fleet.Listener) fleet.Listener {
	all := append([]endpoint{a.plan.health}, a.plan.endpoints...)
	known := slices.ContainsFunc(all, func(e endpoint) bool { return e.name == l.Name })
	if l.Slot != anySlot || known {
		return l
	}
	l.Name = mainName
	for i := range all {
		if all[i].network != l.Network {
			continue
		}
		_, want, err := splitAddress(all[i].address)
		_, has, errHas := splitAddress(l.Address)
		if l.Network == "unix" && all[i].address == l.Address || err == nil && errHas == nil && want == has {
			l.Name = all[i].name
		}
	}
	if l.Name == healthName {
		l.Slot = -1
	}
	return l
}

// own fills the slots of one endpoint. An inherited socket fits when it has the
// name and the slot and still is where the configuration wants it.
func (a *appliance) own(e *endpoint, slots []int, candidates *[]socket) error {
	var missing []int
	inherited := false
	for _, slot := range slots {
		i := slices.IndexFunc(*candidates, func(c socket) bool {
			return c.Name == e.name && (c.Slot == slot || c.Slot == anySlot) && sameAddress(e, c)
		})
		if i < 0 {
			missing = append(missing, slot)
			continue
		}
		c := (*candidates)[i]
		if c.Slot != anySlot {
			*candidates = slices.Delete(*candidates, i, i+1)
		}
		inherited = true
		e.address = c.Address
		l := e.describe(slot)
		l.Lent = c.Lent || c.Slot == anySlot
		a.sockets = append(a.sockets, socket{Listener: l, fd: c.fd})
	}
	if e.network == "unix" && inherited {
		for _, slot := range missing {
			last := a.sockets[len(a.sockets)-1]
			last.Slot = slot
			a.sockets = append(a.sockets, last)
		}
		return nil
	}
	made, err := e.bind(missing, !inherited)
	a.sockets = append(a.sockets, made...)
	return err
}

// anySlot marks a socket that systemd bound: one for all slots.
const anySlot = -2

func sameAddress(e *endpoint, c socket) bool {
	if e.network == "unix" || c.Network == "unix" {
		return e.network == c.Network && e.address == c.Address
	}
	addr, port, err := splitAddress(e.address)
	if err != nil {
		return false
	}
	had, at, err := splitAddress(c.Address)
	return c.Slot == anySlot || err == nil && had == addr && (at == port || port == 0)
}

// closeUnused closes what no endpoint wanted: duplicates that several orphans
// handed back, and listeners that are configured no more.
func (a *appliance) closeUnused(candidates *[]socket) {
	for _, c := range *candidates {
		used := slices.ContainsFunc(a.sockets, func(s socket) bool { return s.fd == c.fd })
		if !used {
			_ = syscall.Close(c.fd)
		}
	}
	for _, l := range a.orphans {
		l.drop()
	}
}

// checkMigrate looks at the belt: where net.ipv4.tcp_migrate_req may be set,
// the kernel moves queued connections when a listener closes.
func (a *appliance) checkMigrate() {
	const file = "/proc/sys/net/ipv4/tcp_migrate_req"
	if readNumber(file) == 1 {
		return
	}
	if fd, err := unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
		_, err = unix.Write(fd, []byte("1"))
		_ = unix.Close(fd)
		if err == nil {
			return
		}
	}
	a.log.Debug("net.ipv4.tcp_migrate_req is 0 and may not be set here")
}
