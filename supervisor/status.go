package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"sluice/internal/boot"
	"sluice/supervisor/fleet"
)

// status makes the status document.
func (a *appliance) status() *fleet.Status {
	now := a.now()
	h := a.table.Header()
	st := &fleet.Status{
		State: fleet.State(h.State.Load()).String(), PID: os.Getpid(), Version: boot.Version,
		UptimeS: seconds(now - a.started), Migrator: migratorNames[a.migration.state],
		Config: a.config, Recycles: fleet.Recycles{ByReason: maps.Clone(a.recycles)},
		Slots: []fleet.SlotStatus{}, Listeners: []fleet.Listener{},
	}
	for _, n := range a.recycles {
		st.Recycles.Total += n
	}
	for _, s := range a.sockets {
		st.Listeners = append(st.Listeners, s.Listener)
	}
	for _, s := range a.slots {
		page := a.table.Slot(s.index)
		out := fleet.SlotStatus{
			Slot: s.index, State: fleet.State(page.State.Load()).String(), AdoptedBy: s.adopter,
			Generations: []fleet.GenerationStatus{},
		}
		gens := a.inSlot(s.index)
		slices.SortFunc(gens, func(x, y *generation) int { return cmp.Compare(y.number, x.number) })
		for _, g := range gens {
			out.Generations = append(out.Generations, a.generationStatus(g, now))
		}
		st.Slots = append(st.Slots, out)
	}
	if d := a.healthd(); d != nil {
		st.Healthd = fleet.ChildStatus{PID: d.pid, State: d.state.String(), AgeS: seconds(now - d.launched), Version: d.version}
	} else {
		st.Healthd.State = fleet.StateDead.String()
	}
	st.Healthd.Restarts = a.healthNew
	if r, ok := releasesOf(a.self); ok {
		st.Upgrade = r.read()
	}
	return st
}

func (a *appliance) generationStatus(g *generation, now int64) fleet.GenerationStatus {
	out := fleet.GenerationStatus{
		PID: g.pid, Generation: g.number, State: g.state.String(), AgeS: seconds(now - g.launched),
		Version: g.version, Adopted: g.adopted,
	}
	if g.hung {
		out.State = "hung"
	}
	if g.area >= 0 {
		page := a.table.Generation(g.area)
		out.Requests, out.InFlight, out.Streams = page.Requests.Load(), page.InFlight.Load(), page.Streams.Load()
		out.Connections, out.RSSBytes = page.Conns.Load(), page.RSS.Load()
		out.Panics, out.Config = page.Panics.Load(), page.Config.Load()
	}
	return out
}

func seconds(ns int64) float64 { return float64(ns/int64(time.Millisecond)) / 1000 }

// answerStatus sends the document in a memory file, which has no size limit.
func (a *appliance) answerStatus(l *link) {
	if a.table == nil || a.slots == nil {
		l.close()
		return
	}
	b, err := json.Marshal(a.status())
	if err != nil {
		a.log.Error("make status document", slog.String("error", err.Error()))
		l.close()
		return
	}
	fd, err := memfd("status", b)
	if err != nil {
		a.log.Error("make status document", slog.String("error", err.Error()))
		l.close()
		return
	}
	l.send(fleet.Message{Kind: fleet.KindStatus}, fd, true)
}

// writeTable prints the document for a human.
func writeTable(w io.Writer, st *fleet.Status) error {
	if _, err := fmt.Fprintf(w, "%s  supervisor %d  version %s  up %s  healthd %d %s  migrator %s\n\n", st.State, st.PID, st.Version,
		age(st.UptimeS), st.Healthd.PID, st.Healthd.State, st.Migrator); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "SLOT\tSTATE\tGENERATION\tPID\tAGE\tREQUESTS\tIN FLIGHT\tSTREAMS\tCONNECTIONS\tRSS\t")
	for _, s := range st.Slots {
		if len(s.Generations) == 0 {
			_, _ = fmt.Fprintf(t, "%d\t%s\t\t\t\t\t\t\t\t\t\n", s.Slot, s.State)
		}
		for _, g := range s.Generations {
			_, _ = fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%s\t%d\t%d\t%d\t%d\t%.1f MB\t\n", s.Slot, g.State, g.Generation, g.PID,
				age(g.AgeS), g.Requests, g.InFlight, g.Streams, g.Connections, float64(g.RSSBytes)/1e6)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\nrecycles %d", st.Recycles.Total); err != nil {
		return err
	}
	for _, reason := range slices.Sorted(maps.Keys(st.Recycles.ByReason)) {
		if _, err := fmt.Fprintf(w, "  %s %d", reason, st.Recycles.ByReason[reason]); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w)
	if err == nil && st.Upgrade != nil {
		_, err = fmt.Fprintln(w, st.Upgrade)
	}
	return err
}

func age(s float64) string {
	return (time.Duration(s*1000) * time.Millisecond).Round(100 * time.Millisecond).String()
}

func addrPort(addr []byte, port int) string {
	ip, _ := netip.AddrFromSlice(addr)
	return netip.AddrPortFrom(ip, uint16(port)).String()
}
