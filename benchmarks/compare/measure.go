package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sluice/benchmarks/loadgen"
)

// slowBeat is the script of streams that are only held open.
const slowBeat = "ok,n=600,every=500ms"

// beat is the script of the measured streams: an event every 10 ms for the
// length of a measurement, as large as a provider's.
func beat(o *options) string {
	return fmt.Sprintf("ok,n=%d,every=10ms", int(o.seconds*100))
}

// chat is a request of about 1 KB.
func chat(model, rest string) string {
	return `{"model":"` + model + `","messages":[{"role":"system","content":"You are brief."},{"role":"user","content":"` +
		strings.Repeat("tell me of rivers ", 50)[:880] + `"}],"user":"bench"` + rest + `}`
}

// sample is one contender in one round.
type sample struct {
	PerSecond  float64 `json:"requests_per_s"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	Alone      float64 `json:"p50_alone_us"`       // one connection
	CPU        float64 `json:"cpu_us_per_request"` // 0 for direct
	RSS        float64 `json:"rss_mb"`
	Shipping   float64 `json:"cpu_us_per_row"` // 0 where rows are not shipped apart
	Errors     int     `json:"errors"`
	EventCPU   float64 `json:"cpu_us_per_event"`
	EventGap   float64 `json:"p99_gap_us"` // longest silence of a stream
	EventErrs  int     `json:"stream_errors"`
	EventRate  float64 `json:"events_per_s"`
	WhatErrors string  `json:"what_errors,omitempty"`
}

// measure puts one contender through requests, then streams.
func measure(ctx context.Context, dir string, o *options, p *process) (*sample, error) {
	if p.ships && p.lock == nil {
		if err := p.again(ctx, dir, o); err != nil {
			return nil, err
		}
	}
	script := filepath.Join(dir, p.name+".lua")
	if err := os.WriteFile(script, []byte(lua(p)), 0o644); err != nil {
		return nil, fmt.Errorf("write the script of wrk: %w", err)
	}
	if _, err := wrk(ctx, p, script, o.conns, 0.5); err != nil { // warm
		return nil, err
	}
	s := &sample{}
	before := p.cpu()
	got, err := wrk(ctx, p, script, o.conns, o.seconds)
	if err != nil {
		return nil, err
	}
	used := p.cpu() - before
	s.PerSecond, s.P50, s.P99, s.Errors = float64(got.requests)/got.seconds, got.p50, got.p99, got.errors
	s.CPU = float64(used.Microseconds()) / float64(max(got.requests, 1))
	alone, err := wrk(ctx, p, script, 1, 1)
	if err != nil {
		return nil, err
	}
	s.Alone, s.Errors = alone.p50, s.Errors+alone.errors
	s.RSS = float64(p.rss()) / 1e6
	if p.ships {
		if s.Shipping, err = p.ship(ctx); err != nil {
			return nil, err
		}
	}
	if o.streams == 0 {
		return s, nil
	}
	return s, streams(ctx, o, p, s)
}

// streams holds o.streams streams at once, each for the whole measurement.
func streams(ctx context.Context, o *options, p *process, s *sample) error {
	before, began := p.cpu(), time.Now()
	report, err := loadgen.Run(ctx, streamSpec(o, p, o.streams, "bench-stream", beat(o)))
	if err != nil {
		return fmt.Errorf("load %s with streams: %w", p.name, err)
	}
	used, wall := p.cpu()-before, time.Since(began)
	s.EventErrs = report.Failed()
	if s.EventErrs > 0 {
		f := report.Failures[0]
		s.WhatErrors = fmt.Sprintf("%s %d %.200s", f.Kind, f.Status, f.Detail)
	}
	s.EventCPU = float64(used.Microseconds()) / float64(max(report.Events(), 1))
	s.EventRate = float64(report.Events()) / wall.Seconds()
	s.EventGap = float64(report.Classes[0].Gap().P99)
	return nil
}

// streamSpec sends each of n streams once.
func streamSpec(o *options, p *process, n int, model, script string) loadgen.Spec {
	path := "/" + script + "/v1/chat/completions"
	if p.models {
		path = "/v1/chat/completions"
	}
	return loadgen.Spec{
		Addr: p.addr, Key: p.key, Path: path, Model: p.model(model), Duration: time.Millisecond * time.Duration(50+n/10),
		Timeout: time.Duration(o.seconds*float64(time.Second)) + time.Minute,
		Classes: []loadgen.Class{{Name: "streams", Conns: n, Stream: true}},
	}
}

// lua is the script of wrk; its last line of output is ours to read.
func lua(p *process) string {
	return `wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer ` + p.key + `"
wrk.body = [==[` + chat(p.model("bench"), "") + `]==]
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
`
}

// load is what wrk says; times are in microseconds.
type load struct {
	requests, errors int
	seconds          float64
	p50, p99         float64
}

var resultLine = regexp.MustCompile(`(?m)^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$`)

// wrk loads p for some seconds. wrk counts whole seconds only; a time below
// one is cut off by a timer of ours, and nothing is read of it.
func wrk(ctx context.Context, p *process, script string, conns int, seconds float64) (load, error) {
	whole := max(int(seconds+0.5), 1)
	short := seconds < 1
	if short {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(seconds*float64(time.Second)))
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(conns), "-d"+strconv.Itoa(whole)+"s", "-s", script, "http://"+p.addr)
	out, err := cmd.CombinedOutput()
	if short && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return load{}, nil
	}
	if err != nil {
		return load{}, fmt.Errorf("run wrk: %w\n%s", err, out)
	}
	m := resultLine.FindSubmatch(out)
	if m == nil {
		return load{}, fmt.Errorf("wrk said no result:\n%s", out)
	}
	n := make([]float64, len(m))
	for i := 1; i < len(m); i++ {
		if n[i], err = strconv.ParseFloat(string(m[i]), 64); err != nil {
			return load{}, fmt.Errorf("read wrk's result: %w", err)
		}
	}
	return load{requests: int(n[1]), seconds: n[2] / 1e6, errors: int(n[3]), p50: n[4], p99: n[5]}, nil
}

// memory measures what connections cost while they are held, each kind in
// processes of its own: memory once used is not new.
func memory(ctx context.Context, dir string, o *options, running []*process) error {
	for _, old := range running {
		if old.cmd == nil {
			continue
		}
		old.stop()
		for _, held := range []struct {
			what string
			n    int
		}{{"idle connections", o.idle}, {"open streams", o.streamed}} {
			if held.n == 0 {
				continue
			}
			p, err := launch(ctx, dir, old.contender, o)
			if err != nil {
				return err
			}
			err = hold(ctx, o, p, held.what, held.n)
			p.stop()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func hold(ctx context.Context, o *options, p *process, what string, n int) error {
	ramp := time.Duration(n)*400*time.Microsecond + 3*time.Second
	spec := streamSpec(o, p, n, "bench-slow", slowBeat)
	if what == "idle connections" {
		spec.Path, spec.Model = "/v1/chat/completions", p.model("bench")
		spec.Classes = []loadgen.Class{{Name: "idle", Conns: n, Idle: true, Warm: true}}
		spec.Duration = ramp + 2*time.Second
	}
	before := p.rss()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		report *loadgen.Report
		err    error
	}
	ended := make(chan outcome, 1)
	spec.Timeout = ramp + 30*time.Second
	if what == "open streams" {
		spec.Timeout = ramp + 3*time.Second // they have no end in time; that is how they are let go
	}
	go func() { // ends with the run, which is waited for below
		r, err := loadgen.Run(ctx, spec)
		ended <- outcome{r, err}
	}()
	select {
	case <-time.After(ramp):
	case <-ctx.Done():
	}
	after := p.rss()
	got := <-ended
	if got.err != nil {
		return fmt.Errorf("hold %s on %s: %w", what, p.name, got.err)
	}
	c := got.report.Classes[0]
	bad := c.Failed
	if what == "open streams" {
		bad -= c.Kinds[loadgen.KindTimeout]
	}
	fmt.Printf("%-10s %6d %-17s RSS %7.1f MB, %+7.1f MB, %6.1f KB each; errors %d\n", p.name, n, what, float64(after)/1e6,
		float64(after-before)/1e6, float64(after-before)/1e3/float64(n), bad)
	return nil
}
