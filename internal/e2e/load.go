package e2e

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/internal/fakeprovider"
)

// streamScript is what the model "stream" of MixConfig answers: 20 to 200
// events, one every 10 ms, so 0.2 to 2 s.
const streamScript = "ok,n=20-200,every=10ms"

// Provider runs a fake provider without a ledger, for load.
func Provider(t testing.TB) *fakeprovider.Provider {
	t.Helper()
	p, err := fakeprovider.New(fakeprovider.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// MixConfig is a configuration with the models that Mix asks for: "whole"
// answers at once, "stream" in 0.2 to 2 s.
func MixConfig(p *fakeprovider.Provider) string {
	return fmt.Sprintf(`model_list:
  - model_name: whole
    litellm_params: {model: openai/%[1]s, api_key: x, api_base: %[2]q}
  - model_name: stream
    litellm_params: {model: openai/%[1]s, api_key: x, api_base: %[3]q}
general_settings:
  master_key: %[4]s
`, fakeprovider.Model, p.URL(""), p.URL(streamScript), MasterKey)
}

// Mix is the load of the zero-loss tests: connections that are new each time,
// kept ones with think times up to 1 s, a closed loop that takes what is left
// of the processors, streams, and idle connections that are used once, at the
// end. Every answer is compared with what the provider must have sent, but for
// the model's name and the usage chunk that nobody asked for.
func (a *Appliance) Mix(d time.Duration) loadgen.Spec {
	shape := fakeprovider.DefaultShape
	script, err := fakeprovider.ParseScript(streamScript)
	if err != nil {
		a.t.Fatal(err)
	}
	whole := func(dst []byte, id string) []byte { return append(dst, shape.Whole(id, "whole")...) }
	stream := func(dst []byte, id string) []byte { return append(dst, script.Shape.Stream(id, "stream", false)...) }
	return loadgen.Spec{
		Addr: a.Addr(), Key: a.Key, Model: "whole", Duration: d, Timeout: 30 * time.Second,
		Classes: []loadgen.Class{
			{Name: "new", Fresh: true, Rate: 50, Expect: whole},
			{Name: "kept", Conns: 50, Think: time.Second, Expect: whole},
			{Name: "full", Conns: 4, Expect: whole},
			{Name: "stream", Conns: 20, Stream: true, Model: "stream", Expect: stream},
			{Name: "idle", Conns: 20, Idle: true, Warm: true, Expect: whole},
		},
	}
}

// Load runs a load beside a test: Stop ends its arrivals, waits for what runs
// and returns the report.
type Load struct {
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}
	report *loadgen.Report
	err    error
}

// StartLoad starts a load. It ends by itself after the spec's Duration.
func StartLoad(t testing.TB, spec loadgen.Spec) *Load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{t: t, cancel: cancel, done: make(chan struct{})}
	go func() { // ends with the load; Stop or the test's end waits for it
		defer close(l.done)
		l.report, l.err = loadgen.Run(ctx, spec)
	}()
	t.Cleanup(func() { cancel(); <-l.done })
	return l
}

// Wait waits for the load's own end and returns its report.
func (l *Load) Wait() *loadgen.Report {
	l.t.Helper()
	<-l.done
	if l.err != nil {
		l.t.Fatal(l.err)
	}
	return l.report
}

// End ends the arrivals; what runs goes on.
func (l *Load) End() { l.cancel() }

// Stop ends the arrivals and waits for the report.
func (l *Load) Stop() *loadgen.Report {
	l.t.Helper()
	l.End()
	return l.Wait()
}

// Text is the report as it is printed, cut where it grows long.
func Text(r *loadgen.Report) string {
	const most = 6000
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		return err.Error()
	}
	if b.Len() > most {
		return string(b.Bytes()[:most]) + "…\n"
	}
	return b.String()
}

// NoneFailed fails the test if a request failed or none was sent, and prints the
// report.
func NoneFailed(t testing.TB, r *loadgen.Report) {
	t.Helper()
	t.Log("\n" + Text(r))
	if n := r.Failed(); n != 0 || r.Sent() == 0 {
		t.Errorf("%d of %d requests failed", n, r.Sent())
	}
}
