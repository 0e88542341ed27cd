package loadgen_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/internal/fakeprovider"
)

func expect(t *testing.T, script string, stream, usage bool) func([]byte, string) []byte {
	t.Helper()
	s, err := fakeprovider.ParseScript(script)
	if err != nil {
		t.Fatal(err)
	}
	return func(dst []byte, id string) []byte {
		if stream {
			return append(dst, s.Shape.Stream(id, fakeprovider.Model, usage)...)
		}
		return append(dst, s.Shape.Whole(id, fakeprovider.Model)...)
	}
}

func TestGoodProviderLosesNothing(t *testing.T) {
	p := fakeprovider.Start(t)
	const beat = "ok,n=5-20,size=1-60,every=5ms"
	report, err := loadgen.Run(t.Context(), loadgen.Spec{
		Addr: p.Addr().String(), Duration: time.Second, Seed: 7, Timeout: 10 * time.Second,
		Classes: []loadgen.Class{
			{Name: "fresh", Fresh: true, Rate: 200, Expect: expect(t, "", false, false)},
			{Name: "keep", Conns: 20, Think: 100 * time.Millisecond, Expect: expect(t, "", false, false)},
			{Name: "rate", Conns: 10, Rate: 300, Expect: expect(t, "", false, false)},
			{Name: "streams", Conns: 10, Stream: true, Path: "/" + beat + "/v1/chat/completions", Expect: expect(t, beat, true, false)},
			{Name: "usage", Conns: 4, Stream: true, Usage: true, Path: "/" + beat + "/v1/chat/completions", Expect: expect(t, beat, true, true)},
			{Name: "idle", Conns: 20, Idle: true, Warm: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if report.Failed() != 0 || len(report.Failures) != 0 || len(report.IdleCloses) != 0 {
		t.Fatalf("failures:\n%s", text.String())
	}
	for name, least := range map[string]int{"fresh": 200, "keep": 200, "rate": 295, "streams": 50, "usage": 20, "idle": 40} {
		c := report.Class(name)
		if c.OK < least || c.Sent != c.OK || c.Latency().P50 <= 0 || c.FirstByte().P99 > c.Latency().Max {
			t.Errorf("%s: %+v, want at least %d good", name, c, least)
		}
	}
	if c := report.Class("fresh"); c.Connects != c.Sent {
		t.Errorf("fresh: %d connects for %d requests", c.Connects, c.Sent)
	}
	if c := report.Class("keep"); c.Connects != 20 {
		t.Errorf("keep: %d connects, want 20", c.Connects)
	}
	if got := int(p.Served()); got != report.Sent() {
		t.Errorf("the provider served %d, the generator sent %d", got, report.Sent())
	}
	encoded, err := json.Marshal(report)
	if err != nil || !json.Valid(encoded) {
		t.Errorf("JSON: %v %.100s", err, encoded)
	}
}

func TestFailuresAreClassed(t *testing.T) {
	p := fakeprovider.Start(t)
	tests := []struct {
		script string
		stream bool
		expect string // script whose bytes are expected; "" compares nothing
		want   loadgen.Kind
	}{
		{"s500", false, "", loadgen.KindStatus},
		{"s429,retry=1", true, "", loadgen.KindStatus},
		{"drop", false, "", loadgen.KindEOF},
		{"drop,rst=1", false, "", loadgen.KindResetBefore},
		{"cut,at=100", false, "", loadgen.KindCutAnswer},
		{"cut,at=500", true, "", loadgen.KindCutStream},
		{"nodone", true, "", loadgen.KindNoDone},
		{"errfirst", true, "", loadgen.KindErrorEvent},
		{"errlater", true, "ok", loadgen.KindErrorEvent},
		{"ok,body=900", false, "ok,body=901", loadgen.KindMismatch},
		{"odd,kind=nospace", true, "ok", loadgen.KindNoDone},
		{"ok,n=7", true, "ok,n=8", loadgen.KindMismatch},
		{"hang", false, "", loadgen.KindTimeout},
		{"stall,at=400", true, "", loadgen.KindTimeout},
		{"nothttp", false, "", loadgen.KindProtocol},
		{"badchunk", false, "", loadgen.KindProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.script, func(t *testing.T) {
			class := loadgen.Class{Name: "c", Fresh: true, Rate: 100, Stream: tt.stream, Path: "/" + tt.script + "/v1/chat/completions"}
			if tt.expect != "" {
				class.Expect = expect(t, tt.expect, tt.stream, false)
			}
			patience := 10 * time.Second
			if tt.want == loadgen.KindTimeout {
				patience = 200 * time.Millisecond
			}
			report, err := loadgen.Run(t.Context(), loadgen.Spec{
				Addr: p.Addr().String(), Duration: 50 * time.Millisecond, Timeout: patience, Classes: []loadgen.Class{class},
			})
			if err != nil {
				t.Fatal(err)
			}
			c := report.Class("c")
			if c.Failed != c.Sent || c.Kinds[tt.want] != c.Failed || c.Sent < 4 {
				t.Fatalf("%d sent, kinds %v, want %s; %+v", c.Sent, c.Kinds, tt.want, report.Failures)
			}
			f := report.Failures[0]
			if f.LocalPort == 0 || !f.Sent || f.At.Before(f.SentAt) || f.SentAt.Before(f.Opened) || f.Kind != tt.want {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestRefusedConnections(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := loadgen.Run(t.Context(), loadgen.Spec{Addr: addr, Duration: 50 * time.Millisecond, Classes: []loadgen.Class{{Fresh: true, Rate: 100}}})
	if err != nil {
		t.Fatal(err)
	}
	if c := report.Classes[0]; c.Kinds[loadgen.KindRefused] != c.Sent || c.Sent == 0 {
		t.Errorf("%+v", c)
	}
}

// TestClosedWhileIdle holds that a close between two requests is no failure
// to a client that has seen it, and one to a client that has not.
func TestClosedWhileIdle(t *testing.T) {
	for _, late := range []time.Duration{0, time.Minute} {
		p := fakeprovider.Start(t)
		cut := time.AfterFunc(100*time.Millisecond, p.Disconnect)
		report, err := loadgen.Run(t.Context(), loadgen.Spec{
			Addr: p.Addr().String(), Duration: 300 * time.Millisecond,
			Classes: []loadgen.Class{{Name: "c", Conns: 5, Idle: true, Late: late}},
		})
		cut.Stop()
		if err != nil {
			t.Fatal(err)
		}
		c := report.Class("c")
		if c.ClosedIdle != 5 || len(report.IdleCloses) != 5 || report.IdleCloses[0].Idle > 250*time.Millisecond {
			t.Errorf("late %v: %+v %+v", late, c, report.IdleCloses)
		}
		if wantLost := min(int(late), 5); c.Failed != wantLost {
			t.Errorf("late %v: %d failed, want %d", late, c.Failed, wantLost)
		}
	}
}

// TestTheLoopIsOpen holds that a stall is charged for what should have been
// sent meanwhile.
func TestTheLoopIsOpen(t *testing.T) {
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		time.Sleep(200 * time.Millisecond)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				buf := make([]byte, 8192)
				for {
					if _, err := nc.Read(buf); err != nil {
						return
					}
					if _, err := io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
						return
					}
				}
			}()
		}
	}()
	report, err := loadgen.Run(t.Context(), loadgen.Spec{
		Addr: ln.Addr().String(), Duration: 250 * time.Millisecond, Classes: []loadgen.Class{{Name: "c", Conns: 1, Rate: 100}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := report.Class("c")
	if l := c.Latency(); c.OK != 25 || l.P50 < 50_000 || l.Max < 190_000 {
		t.Errorf("%d good, latency %+v", c.OK, l)
	}
}

func TestCancelledRunsEnd(t *testing.T) {
	p := fakeprovider.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	report, err := loadgen.Run(ctx, loadgen.Spec{
		Addr: p.Addr().String(), Duration: time.Hour,
		Classes: []loadgen.Class{{Name: "fresh", Fresh: true, Rate: 50}, {Name: "keep", Conns: 5, Think: time.Second}, {Name: "idle", Conns: 5, Idle: true}},
	})
	if err != nil || report.Failed() != 0 || time.Since(began) > 2*time.Second {
		t.Errorf("after %v: %v, %+v", time.Since(began), err, report)
	}
}

func TestSpecIsChecked(t *testing.T) {
	for _, spec := range []loadgen.Spec{
		{},
		{Addr: "x:1", Duration: time.Second},
		{Addr: "x:1", Duration: time.Second, Classes: []loadgen.Class{{Fresh: true}}},
		{Addr: "x:1", Duration: time.Second, Classes: []loadgen.Class{{}}},
	} {
		if _, err := loadgen.Run(t.Context(), spec); err == nil {
			t.Errorf("%+v was accepted", spec)
		}
	}
	var nothing bytes.Buffer
	if err := (&loadgen.Report{}).WriteText(&nothing); err != nil || nothing.Len() == 0 {
		t.Errorf("empty report: %v %q", err, nothing.String())
	}
}
