package loadgen

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is what came of a run. It is the caller's once Run has returned.
type Report struct {
	Start      time.Time
	Wall       time.Duration
	Classes    []*ClassReport
	Failures   []Failure   // at most Spec.MaxFailures, in the order they were seen
	IdleCloses []IdleClose // as many at most

	failed int
}

// ClassReport counts one class.
type ClassReport struct {
	Name       string
	Sent       int // requests that had an end, good or bad
	OK         int
	Failed     int
	Connects   int
	ClosedIdle int   // connections that the server closed between requests
	Events     int64 // of streams, [DONE] included
	Bytes      int64 // of good bodies
	Kinds      map[Kind]int

	latency   *hdrhistogram.Histogram // µs, due to last byte
	firstByte *hdrhistogram.Histogram // µs, due to first byte
	gap       *hdrhistogram.Histogram // µs, longest silence of each stream
}

// Quantiles are of one measure, in microseconds.
type Quantiles struct {
	P50  int64   `json:"p50_us"`
	P90  int64   `json:"p90_us"`
	P99  int64   `json:"p99_us"`
	P999 int64   `json:"p999_us"`
	Max  int64   `json:"max_us"`
	Mean float64 `json:"mean_us"`
}

func newReport(start time.Time, classes []Class) *Report {
	r := &Report{Start: start}
	for _, c := range classes {
		r.Classes = append(r.Classes, &ClassReport{
			Name: c.Name, Kinds: map[Kind]int{},
			latency: histogram(), firstByte: histogram(), gap: histogram(),
		})
	}
	return r
}

// histogram covers 1 µs to 10 minutes with three digits.
func histogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 600_000_000, 3) }

func record(h *hdrhistogram.Histogram, d time.Duration) {
	// Out of range cannot happen between these bounds.
	_ = h.RecordValue(min(max(d.Microseconds(), 1), 600_000_000))
}

func quantiles(h *hdrhistogram.Histogram) Quantiles {
	if h.TotalCount() == 0 {
		return Quantiles{}
	}
	return Quantiles{
		P50: h.ValueAtQuantile(50), P90: h.ValueAtQuantile(90), P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9),
		Max: h.Max(), Mean: h.Mean(),
	}
}

// Latency is from when a request was due to its answer's last byte.
func (c *ClassReport) Latency() Quantiles { return quantiles(c.latency) }

// FirstByte is from when a request was due to its answer's first byte.
func (c *ClassReport) FirstByte() Quantiles { return quantiles(c.firstByte) }

// Gap is the longest silence inside each stream.
func (c *ClassReport) Gap() Quantiles { return quantiles(c.gap) }

// Class returns the report of the class of that name, or nil.
func (r *Report) Class(name string) *ClassReport {
	i := slices.IndexFunc(r.Classes, func(c *ClassReport) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return r.Classes[i]
}

// Failed counts the failures, those that were not kept included.
func (r *Report) Failed() int { return r.failed }

// Sent counts the requests of all classes.
func (r *Report) Sent() int {
	n := 0
	for _, c := range r.Classes {
		n += c.Sent
	}
	return n
}

// Events counts the events of all streams.
func (r *Report) Events() int64 {
	var n int64
	for _, c := range r.Classes {
		n += c.Events
	}
	return n
}

// MarshalJSON gives counts, quantiles and failures.
func (r *Report) MarshalJSON() ([]byte, error) {
	type class struct {
		Name       string       `json:"name"`
		Sent       int          `json:"sent"`
		OK         int          `json:"ok"`
		Failed     int          `json:"failed"`
		Connects   int          `json:"connects"`
		ClosedIdle int          `json:"closed_idle"`
		Events     int64        `json:"events"`
		Bytes      int64        `json:"bytes"`
		Kinds      map[Kind]int `json:"kinds"`
		Latency    Quantiles    `json:"latency"`
		FirstByte  Quantiles    `json:"first_byte"`
		Gap        Quantiles    `json:"gap"`
	}
	classes := []class{}
	for _, c := range r.Classes {
		classes = append(classes, class{
			c.Name, c.Sent, c.OK, c.Failed, c.Connects, c.ClosedIdle, c.Events, c.Bytes, c.Kinds, c.Latency(), c.FirstByte(), c.Gap(),
		})
	}
	b, err := json.Marshal(map[string]any{
		"start": r.Start, "wall_s": r.Wall.Seconds(), "failed": r.failed, "classes": classes, "failures": r.Failures, "idle_closes": r.IdleCloses,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	return b, nil
}

// WriteText writes a table and the first failures.
func (r *Report) WriteText(w io.Writer) error {
	p := &printer{w: w}
	p.printf("%-14s %9s %9s %7s %9s %9s %9s %9s %9s %9s\n", "class", "sent", "ok", "failed", "per s", "p50 ms", "p99 ms", "max ms", "ttfb p99", "gap p99")
	for _, c := range r.Classes {
		l, f, g := c.Latency(), c.FirstByte(), c.Gap()
		p.printf("%-14s %9d %9d %7d %9.0f %9.2f %9.2f %9.2f %9.2f %9.2f\n", c.Name, c.Sent, c.OK, c.Failed,
			float64(c.OK)/r.Wall.Seconds(), ms(l.P50), ms(l.P99), ms(l.Max), ms(f.P99), ms(g.P99))
		p.printf("%-14s connects %d, closed while idle %d, events %d\n", "", c.Connects, c.ClosedIdle, c.Events)
		for kind, n := range c.Kinds {
			p.printf("%-14s %9d × %s\n", "", n, kind)
		}
	}
	for i, f := range r.Failures {
		if i == 20 {
			p.printf("… %d more\n", r.failed-i)
			break
		}
		p.printf("%s %s %s status %d port %d age %v idle %v sent %v bytes %d %.200q\n", f.At.Format("15:04:05.000000"), f.ID, f.Kind, f.Status,
			f.LocalPort, f.ConnAge, f.Idle, f.Sent, f.Bytes, f.Detail)
	}
	return p.err
}

func ms(us int64) float64 { return float64(us) / 1000 }

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
