package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ledger keeps what workers counted, so that a counter never goes backwards:
// the exported value is what dead generations left (the base) plus the last
// sample of each living one. It is used by one goroutine.
type ledger struct {
	appliance int64 // fleet.Header.StartedAt: generations are numbered anew in each life
	base      *samples
	living    map[int]*member // by generation
	folded    map[int]bool    // dead generations that are in the base
}

// member is one generation.
type member struct {
	slot    int
	samples *samples
}

func newLedger(appliance int64) *ledger {
	return &ledger{appliance: appliance, base: newSamples(), living: map[int]*member{}, folded: map[int]bool{}}
}

// take reads an exposition of a living generation. A generation that is in the
// base already is dead: what it still says does not count.
func (l *ledger) take(slot, generation int, text []byte) {
	if l.folded[generation] {
		return
	}
	m := l.living[generation]
	if m == nil {
		m = &member{slot: slot, samples: newSamples()}
		l.living[generation] = m
	}
	m.samples.read(text)
}

// fold moves a dead generation's counters into the base, once. last is its
// final dump, nil when it left none.
func (l *ledger) fold(slot, generation int, last []byte) {
	if l.folded[generation] {
		return
	}
	if last != nil {
		l.finish(slot, generation, last)
	}
	l.folded[generation] = true
	m := l.living[generation]
	if m == nil {
		return
	}
	delete(l.living, generation)
	for series, p := range m.samples.series {
		name := nameOf(series)
		if ruleOf(name) != perGeneration && m.samples.additive(name) {
			l.base.add(series, *p)
			family, typ := m.samples.familyOf(name)
			if typ != "" {
				l.base.types[family] = typ
			}
		}
	}
}

// finish lays a final dump over the last sample. A torn dump takes nothing back
// that was exported before.
func (l *ledger) finish(slot, generation int, last []byte) {
	m := l.living[generation]
	if m == nil {
		m = &member{slot: slot, samples: newSamples()}
		l.living[generation] = m
	}
	final := newSamples()
	final.read(last)
	maps.Copy(m.samples.types, final.types)
	for series, f := range final.series {
		if p := m.samples.series[series]; p != nil {
			*p = max(*p, *f)
		} else {
			m.samples.series[series] = f
		}
	}
}

func (s *samples) add(series string, v float64) {
	if p := s.series[series]; p != nil {
		*p += v
		return
	}
	s.series[series] = &v
}

// rule says how a gauge of several workers becomes one.
type rule int

const (
	perSlot       rule = iota // newest generation of each slot, with a slot label
	perGeneration             // the same with slot and generation; of processes
	sum
	highest
	lowest
)

// gauges whose endings say how they add up. Whatever is not here keeps a slot
// label.
var gauges = []struct {
	ending string
	rule   rule
}{
	{"_in_flight", sum},
	{"_in_flight_requests", sum},
	{"_connections", sum},
	{"_streams", sum},
	{"_idle", sum},
	{"_waiting", sum},
	{"_queued", sum},
	{"_buffered_bytes", sum},
	{"_allowance_used_bytes", sum},
	{"_limit", highest},
	// The journal's directory is one for all workers of the host.
	{"_journal_full", highest},
	{"_journal_unshipped_bytes", highest},
	{"_journal_bound_bytes", lowest},
	{"_journal_free_bytes", lowest},
	{"_generation", highest},
	{"_timestamp_seconds", highest},
	{"_deployment_state", highest},
	{"_info", highest},
	// What is left of a budget or a limit of the whole host, as each worker last
	// saw it.
	{"_budget_metric", lowest},
	{"_requests_for_model", lowest},
	{"_tokens_for_model", lowest},
	{"_budget_remaining_hours_metric", lowest},
	// What is left of a provider's limits, as its last answers told.
	{"_remaining_requests_metric", lowest},
	{"_remaining_tokens_metric", lowest},
}

func ruleOf(name string) rule {
	if strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "go_") {
		return perGeneration
	}
	for _, g := range gauges {
		if strings.HasSuffix(name, g.ending) {
			return g.rule
		}
	}
	return perSlot
}

// merged is the exposition of all workers as one.
func (l *ledger) merged() []line {
	values := map[string]*line{}
	put := func(s *samples, series string, v float64, combine func(a, b float64) float64) {
		if old := values[series]; old != nil {
			old.value = combine(old.value, v)
			return
		}
		family, typ := s.familyOf(nameOf(series))
		values[series] = &line{family: family, typ: typ, series: series, value: v}
	}
	plus := func(a, b float64) float64 { return a + b }
	for series, p := range l.base.series {
		put(l.base, series, *p, plus)
	}
	newest := map[int]int{}
	for generation, m := range l.living {
		newest[m.slot] = max(newest[m.slot], generation)
	}
	for generation, m := range l.living {
		for series, p := range m.samples.series {
			name := nameOf(series)
			r := ruleOf(name)
			switch {
			case r != perGeneration && m.samples.additive(name), r == sum:
				put(m.samples, series, *p, plus)
			case r == highest:
				put(m.samples, series, *p, func(a, b float64) float64 { return max(a, b) })
			case r == lowest:
				put(m.samples, series, *p, func(a, b float64) float64 { return min(a, b) })
			case newest[m.slot] != generation:
			case r == perGeneration:
				put(m.samples, labelled(series, labels(m.slot, generation)), *p, plus)
			default:
				put(m.samples, labelled(series, `slot="`+strconv.Itoa(m.slot)+`"`), *p, plus)
			}
		}
	}
	return collect(values)
}

// perWorker is the exposition of the living workers, each for itself.
func (l *ledger) perWorker() []line {
	values := map[string]*line{}
	for generation, m := range l.living {
		for series, p := range m.samples.series {
			family, typ := m.samples.familyOf(nameOf(series))
			full := labelled(series, labels(m.slot, generation))
			values[full] = &line{family: family, typ: typ, series: full, value: *p}
		}
	}
	return collect(values)
}

func collect(values map[string]*line) []line {
	lines := make([]line, 0, len(values))
	for _, l := range values {
		lines = append(lines, *l)
	}
	return lines
}

func labels(slot, generation int) string {
	return `slot="` + strconv.Itoa(slot) + `",generation="` + strconv.Itoa(generation) + `"`
}

// saved is the ledger on disk.
type saved struct {
	Appliance int64             `json:"appliance"`
	Folded    []int             `json:"folded"`
	Members   []savedMember     `json:"members"` // the first one is the base
	Types     map[string]string `json:"types"`
}

type savedMember struct {
	Slot       int                `json:"slot"`
	Generation int                `json:"generation"`
	Series     map[string]float64 `json:"series"`
}

// maxFolded bounds the list of dead generations; the supervisor numbers them
// upwards, so that older ones cannot come back.
const maxFolded = 4096

// save writes the ledger beside its place and renames it there: a reader finds
// the old one or the new one. What is exported is saved before, so that a
// killed healthd takes nothing back.
func (l *ledger) save(path string) error {
	out := saved{Appliance: l.appliance, Types: map[string]string{}}
	for generation := range l.folded {
		out.Folded = append(out.Folded, generation)
	}
	slices.Sort(out.Folded)
	if n := len(out.Folded); n > maxFolded {
		for _, old := range out.Folded[:n-maxFolded] {
			delete(l.folded, old)
		}
		out.Folded = out.Folded[n-maxFolded:]
	}
	out.Members = append(out.Members, save(0, 0, l.base, out.Types))
	for generation, m := range l.living {
		out.Members = append(out.Members, save(m.slot, generation, m.samples, out.Types))
	}
	slices.SortFunc(out.Members, func(a, b savedMember) int { return cmp.Compare(a.Generation, b.Generation) })
	data, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("write metrics base: %w", err)
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("write metrics base: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write metrics base: %w", err)
	}
	return nil
}

// save keeps what must not go backwards: gauges are scraped again.
func save(slot, generation int, s *samples, types map[string]string) savedMember {
	m := savedMember{Slot: slot, Generation: generation, Series: make(map[string]float64, len(s.series))}
	for series, p := range s.series {
		name := nameOf(series)
		if s.additive(name) && *p-*p == 0 { // neither infinite nor NaN, which JSON does not have
			m.Series[series] = *p
			if family, typ := s.familyOf(name); typ != "" {
				types[family] = typ
			}
		}
	}
	return m
}

// loadLedger reads a saved ledger of the same life of the appliance; another
// life, an absent or a broken file give an empty one, which Prometheus takes
// for the counter reset that it is.
func loadLedger(path string, appliance int64) (*ledger, error) {
	l := newLedger(appliance)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, fmt.Errorf("read metrics base: %w", err)
	}
	var in saved
	if err := json.Unmarshal(data, &in); err != nil {
		return l, fmt.Errorf("read metrics base: %w", err)
	}
	if in.Appliance != appliance {
		return l, nil
	}
	for _, generation := range in.Folded {
		l.folded[generation] = true
	}
	for _, sm := range in.Members {
		s := l.base
		if sm.Generation != 0 {
			s = newSamples()
			l.living[sm.Generation] = &member{slot: sm.Slot, samples: s}
		}
		for series, v := range sm.Series {
			s.add(series, v)
		}
		for family, typ := range in.Types {
			s.types[family] = typ
		}
	}
	return l, nil
}
