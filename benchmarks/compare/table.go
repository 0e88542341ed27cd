package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// table is the outcome of a run.
type table struct {
	Machine machine                `json:"machine"`
	Rounds  int                    `json:"rounds"`
	Seconds float64                `json:"seconds"`
	Conns   int                    `json:"conns"`
	Streams int                    `json:"streams"`
	Order   []string               `json:"order"`
	Samples map[string][]*sample   `json:"samples"`
	Medians map[string]*sample     `json:"medians"`
	Ratios  map[string]*ratioPairs `json:"ratios_to_nginx"`
}

// ratioPairs are medians of the ratios within a round; nil where an error
// happened on either side, or there is nothing to compare.
type ratioPairs struct {
	CPU      *float64 `json:"cpu_per_request"`
	EventCPU *float64 `json:"cpu_per_event"`
	Alone    *float64 `json:"p50_alone"`
	Rate     *float64 `json:"requests_per_s"`
}

// machine describes where and what was measured.
type machine struct {
	Date     string `json:"date"`
	Commit   string `json:"commit"`
	CPU      string `json:"cpu"`
	CPUs     int    `json:"cpus"`
	Split    string `json:"processors"`
	Kernel   string `json:"kernel"`
	Memory   string `json:"memory"`
	Load     string `json:"load_average"`
	Go       string `json:"go"`
	Versions string `json:"versions"`
}

func newTable(ctx context.Context, o *options) *table {
	return &table{
		Machine: describe(ctx, o), Rounds: o.rounds, Seconds: o.seconds, Conns: o.conns, Streams: o.streams,
		Samples: map[string][]*sample{}, Medians: map[string]*sample{}, Ratios: map[string]*ratioPairs{},
	}
}

func describe(ctx context.Context, o *options) machine {
	said := func(name string, args ...string) string {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		if err != nil && len(out) == 0 {
			return "?"
		}
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return line
	}
	field := func(path, key string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			return "?"
		}
		for line := range strings.SplitSeq(string(b), "\n") {
			if rest, ok := strings.CutPrefix(line, key); ok {
				return strings.TrimLeft(rest, " \t:")
			}
		}
		return "?"
	}
	m := machine{
		Date: time.Now().UTC().Format(time.RFC3339), Commit: said("git", "rev-parse", "--short", "HEAD"),
		CPU: field("/proc/cpuinfo", "model name"), CPUs: runtime.NumCPU(), Split: o.cpus.String(), Kernel: said("uname", "-sr"),
		Memory: field("/proc/meminfo", "MemTotal"), Load: field("/proc/loadavg", ""), Go: runtime.Version(),
	}
	m.Versions = strings.Join([]string{said("nginx", "-v"), said("haproxy", "-v"), said("wrk", "-v")}, "; ")
	if said("git", "status", "--porcelain", "-uno") != "" {
		m.Commit += "-changed"
	}
	return m
}

func (t *table) add(name string, s *sample) {
	if !slices.Contains(t.Order, name) {
		t.Order = append(t.Order, name)
	}
	t.Samples[name] = append(t.Samples[name], s)
	t.Medians[name] = medians(t.Samples[name])
	for _, n := range t.Order {
		t.Ratios[n] = &ratioPairs{
			CPU:      t.ratio(n, func(s *sample) (float64, bool) { return s.CPU, s.Errors == 0 }),
			EventCPU: t.ratio(n, func(s *sample) (float64, bool) { return s.EventCPU, s.EventErrs == 0 }),
			Alone:    t.ratio(n, func(s *sample) (float64, bool) { return s.Alone, s.Errors == 0 }),
			Rate:     t.ratio(n, func(s *sample) (float64, bool) { return s.PerSecond, s.Errors == 0 }),
		}
	}
}

// ratio pairs the rounds of a contender with nginx's.
func (t *table) ratio(name string, of func(*sample) (float64, bool)) *float64 {
	var pairs []float64
	base := t.Samples["nginx"]
	for i, s := range t.Samples[name] {
		if i >= len(base) {
			break
		}
		a, good := of(s)
		b, good2 := of(base[i])
		if !good || !good2 {
			return nil
		}
		if a > 0 && b > 0 {
			pairs = append(pairs, a/b)
		}
	}
	if pairs == nil {
		return nil
	}
	m := median(pairs)
	return &m
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func medians(all []*sample) *sample {
	of := func(get func(*sample) float64) float64 {
		var v []float64
		for _, s := range all {
			v = append(v, get(s))
		}
		return median(v)
	}
	m := &sample{
		PerSecond: of(func(s *sample) float64 { return s.PerSecond }), P50: of(func(s *sample) float64 { return s.P50 }),
		P99: of(func(s *sample) float64 { return s.P99 }), Alone: of(func(s *sample) float64 { return s.Alone }), Shipping: of(func(s *sample) float64 { return s.Shipping }),
		CPU: of(func(s *sample) float64 { return s.CPU }), RSS: of(func(s *sample) float64 { return s.RSS }),
		EventCPU: of(func(s *sample) float64 { return s.EventCPU }), EventGap: of(func(s *sample) float64 { return s.EventGap }),
		EventRate: of(func(s *sample) float64 { return s.EventRate }),
	}
	for _, s := range all {
		m.Errors += s.Errors
		m.EventErrs += s.EventErrs
		m.WhatErrors = or(m.WhatErrors, s.WhatErrors)
	}
	return m
}

// spread is the least and the greatest of the rounds.
func (t *table) spread(name string, get func(*sample) float64) string {
	low, high := get(t.Samples[name][0]), get(t.Samples[name][0])
	for _, s := range t.Samples[name] {
		low, high = min(low, get(s)), max(high, get(s))
	}
	return fmt.Sprintf("%.1f–%.1f", low, high)
}

// write prints what was measured. A ratio stands only where no error happened.
func (t *table) write(w io.Writer) {
	p := &printer{w: w}
	m := t.Machine
	p.printf("date      %s\ncommit    %s\nmachine   %d × %s, %s, %s\ncpus      %s\nload      %s at the start\nprograms  %s; %s\n", m.Date, m.Commit, m.CPUs, m.CPU, m.Memory, m.Kernel, m.Split, m.Load, m.Go, m.Versions)
	p.printf("rounds    %d of %.0f s each, in turns; medians; ratios are medians of the rounds' ratios to nginx\n\n", t.Rounds, t.Seconds)
	p.printf("Requests: 1 KB chat request, 1 KB answer, %d connections (wrk); \"alone\" is one connection\n\n", t.Conns)
	p.printf("%-20s %8s %8s %8s %9s %8s %8s %12s %8s %8s %7s\n", "", "req/s", "p50 µs", "p99 µs", "alone µs", "× nginx", "CPU µs", "spread", "× nginx", "RSS MB", "errors")
	for _, name := range t.Order {
		s, r := t.Medians[name], t.Ratios[name]
		p.printf("%-20s %8.0f %8.0f %8.0f %9.0f %8s %8.1f %12s %8s %8.1f %7d\n", name, s.PerSecond, s.P50, s.P99, s.Alone, ratio(r.Alone, s.Errors),
			s.CPU, t.spread(name, func(s *sample) float64 { return s.CPU }), ratio(r.CPU, s.Errors), s.RSS, s.Errors)
	}
	t.writeShipping(p)
	if t.Streams == 0 {
		return
	}
	p.printf("\nStreams: %d at once, an event every 10 ms; \"gap\" is the 99th percentile of the streams' longest silences\n\n", t.Streams)
	p.printf("%-20s %9s %8s %12s %8s %9s %7s\n", "", "events/s", "CPU µs", "spread", "× nginx", "gap ms", "errors")
	for _, name := range t.Order {
		s, r := t.Medians[name], t.Ratios[name]
		p.printf("%-20s %9.0f %8.1f %12s %8s %9.1f %7d %s\n", name, s.EventRate, s.EventCPU, t.spread(name, func(s *sample) float64 { return s.EventCPU }),
			ratio(r.EventCPU, s.EventErrs), s.EventGap/1000, s.EventErrs, s.WhatErrors)
	}
	if d := t.Medians["direct"]; d != nil && d.EventGap > 100_000 {
		p.printf("\nThe upstream itself fell silent for %.0f ms: the machine was too busy for the events to come one by one, and the\nfigures per event are of bundles. Measure again on a quiet one.\n", d.EventGap/1000)
	}
}

// writeShipping prints the two parts of a request's cost that is written down: its
// own way, and that of its row.
func (t *table) writeShipping(p *printer) {
	base := t.Medians["nginx"]
	for i, name := range slices.DeleteFunc(slices.Clone(t.Order), func(n string) bool { return t.Medians[n].Shipping == 0 }) {
		if i == 0 {
			p.printf("\nEverything on: virtual key, limits of requests and tokens, budgets, record; its row, shipped apart\n\n")
			p.printf("%-20s %10s %8s %10s %8s\n", "", "request µs", "row µs", "both µs", "× nginx")
		}
		s := t.Medians[name]
		both := "-"
		if base != nil && base.CPU > 0 && s.Errors+base.Errors == 0 {
			both = fmt.Sprintf("%.2f", (s.CPU+s.Shipping)/base.CPU)
		}
		p.printf("%-20s %10.1f %8.1f %10.1f %8s\n", name, s.CPU, s.Shipping, s.CPU+s.Shipping, both)
	}
}

func ratio(r *float64, errs int) string {
	switch {
	case errs > 0:
		return "errors"
	case r == nil:
		return "-"
	default:
		return fmt.Sprintf("%.2f", *r)
	}
}

// printer keeps the first error, so that a table can be written line by line.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
