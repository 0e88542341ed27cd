package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// stage is a supervisor with its table, control socket and health listener.
type stage struct {
	t       *testing.T
	dir     fleet.Dir
	tableFD int
	table   *fleet.Table
	base    string // URL of healthd
	environ map[string]string

	control  *net.UnixListener
	listener *os.File
	done     chan error
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, dir: fleet.Dir(t.TempDir()), done: make(chan error, 1)}
	if err := os.MkdirAll(s.dir.Run(), 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.tableFD, err = unix.MemfdCreate("table", unix.MFD_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if s.table, err = fleet.NewTable(s.tableFD, 2); err != nil {
		t.Fatal(err)
	}
	h := s.table.Header()
	h.SupervisorPID.Store(uint32(os.Getpid()))
	h.Heartbeat.Store(fleet.Now())
	h.State.Store(uint32(fleet.StateReady))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.base = "http://" + l.Addr().String()
	if s.listener, err = l.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	s.listen()
	t.Cleanup(func() { _ = s.listener.Close(); _ = s.control.Close() })
	return s
}

func (s *stage) listen() {
	var err error
	s.control, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: s.dir.Control(), Net: "unixpacket"})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) accept() *fleet.Conn {
	c, err := s.control.AcceptUnix()
	if err != nil {
		s.t.Fatal(err)
	}
	return fleet.NewConn(c)
}

// run starts healthd, gives it everything and waits until it is ready.
func (s *stage) run() *fleet.Conn {
	s.t.Helper()
	p := &boot.Process{
		Program: "healthd", Stdout: io.Discard, Stderr: io.Discard,
		Environ: (&env.Environ{}).With(s.environ).With(map[string]string{fleet.EnvControl: s.dir.Control(), fleet.EnvStateDir: string(s.dir)}),
	}
	go func() { s.done <- run(p) }()
	conn := s.accept()
	hello, _, err := conn.Receive()
	if err != nil || hello.Kind != fleet.KindHello || hello.Role != "healthd" || hello.PID != os.Getpid() || hello.Orphan {
		s.t.Fatalf("hello: %+v, %v", hello, err)
	}
	s.send(conn, fleet.Message{Kind: fleet.KindTable}, s.tableFD)
	s.send(conn, fleet.Message{Kind: fleet.KindListener, Listener: &fleet.Listener{Name: "health", Slot: -1}}, int(s.listener.Fd()))
	s.send(conn, fleet.Message{Kind: fleet.KindBegin}, -1)
	if ready, _, err := conn.Receive(); err != nil || ready.Kind != fleet.KindReady {
		s.t.Fatalf("ready: %+v, %v", ready, err)
	}
	return conn
}

func (s *stage) send(c *fleet.Conn, m fleet.Message, fd int) {
	s.t.Helper()
	if err := c.Send(m, fd); err != nil {
		s.t.Fatal(err)
	}
}

// stop sends TERM to this process, which healthd's handler takes.
func (s *stage) stop() {
	s.t.Helper()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case err := <-s.done:
		if err != nil {
			s.t.Errorf("healthd ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		s.t.Fatal("healthd did not end")
	}
}

func (s *stage) ask(method, path string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.base+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// generation makes a ready generation whose socket serves a counter.
func (s *stage) generation(slot, number int, count *atomic.Int64) (area int, kill func()) {
	s.t.Helper()
	area, err := s.table.Claim(slot, number)
	if err != nil {
		s.t.Fatal(err)
	}
	g := s.table.Generation(area)
	g.PID.Store(uint32(os.Getpid()))
	g.Ready.Store(fleet.Now())
	g.Beat.Store(fleet.Now())
	g.State.Store(uint32(fleet.StateReady))
	s.table.Slot(slot).State.Store(uint32(fleet.StateReady))
	l, err := net.Listen("unix", s.dir.Worker(slot, number))
	if err != nil {
		s.t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "# TYPE served_total counter\nserved_total{route=\"a\"} %d\n# TYPE open_connections gauge\nopen_connections 2\n", count.Load())
	})}
	go func() { _ = srv.Serve(l) }()
	s.t.Cleanup(func() { _ = srv.Close() })
	return area, func() { _ = srv.Close(); s.table.Reap(area) }
}

func (s *stage) until(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(6 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s did not come", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *stage) metric(series string) float64 {
	_, body := s.ask("GET", "/metrics")
	for row := range strings.Lines(body) {
		if v, ok := strings.CutPrefix(row, series+" "); ok {
			f, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return f
		}
	}
	return -1
}

func TestRoutes(t *testing.T) {
	s := newStage(t)
	conn := s.run()
	defer func() { _ = conn.Close() }()
	s.table.Header().State.Store(uint32(fleet.StateStarting))
	if code, body := s.ask("GET", "/health/readiness"); code != 503 || !strings.Contains(body, `"status":"starting"`) {
		t.Errorf("starting: %d %s", code, body)
	}
	var n atomic.Int64
	_, kill := s.generation(0, 1, &n)
	s.generation(1, 2, &n)
	h := s.table.Header()
	h.State.Store(uint32(fleet.StateReady))
	h.Database.Store(uint32(fleet.DependencyConnected))
	h.Redis.Store(uint32(fleet.DependencyConnected))
	h.ObservedAt.Store(fleet.Now())
	h.Schema.Store(1)
	h.SchemaWant.Store(1)
	tests := []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/health/liveliness", 200, `"I'm alive!"`},
		{"GET", "/health/liveness", 200, `"I'm alive!"`},
		{"HEAD", "/health/liveness", 200, ""},
		{"OPTIONS", "/health/readiness", 200, ""},
		{"POST", "/health/readiness", 405, `{"detail":"Method Not Allowed"}`},
		{"GET", "/nowhere", 404, `{"detail":"Not Found"}`},
		{"GET", "/", 404, `{"detail":"Not Found"}`},
	}
	for _, tt := range tests {
		if code, body := s.ask(tt.method, tt.path); code != tt.code || body != tt.body {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, code, body)
		}
	}
	for _, path := range []string{"/health", "/health/readiness", "/health/"} {
		code, body := s.ask("GET", path)
		var r map[string]any
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatal(err)
		}
		if code != 200 || r["status"] != "healthy" || r["db"] != "connected" || r["cache"] != "redis" || len(r["slots"].([]any)) != 2 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	var d document
	if _, body := s.ask("GET", "/status"); json.Unmarshal([]byte(body), &d) != nil || len(d.Slots) != 2 ||
		d.Slots[1].Generations[0].Generation != 2 || !d.Ready || !d.Live {
		t.Errorf("status: %s", body)
	}
	kill()
	s.table.Slot(0).State.Store(uint32(fleet.StateFailed))
	if code, body := s.ask("GET", "/health/readiness"); code != 200 || !strings.Contains(body, `"why":["slot 0: failed"]`) {
		t.Errorf("a failed slot: %d %s", code, body)
	}
	h.State.Store(uint32(fleet.StateDraining))
	if code, body := s.ask("GET", "/health/readiness"); code != 503 || !strings.Contains(body, "draining") {
		t.Errorf("draining: %d %s", code, body)
	}
	if code, _ := s.ask("GET", "/health/liveliness"); code != 200 {
		t.Errorf("liveness while draining: %d", code)
	}
	h.Heartbeat.Store(fleet.Now() - int64(20*time.Second))
	if code, _ := s.ask("GET", "/health/liveliness"); code != 503 {
		t.Errorf("liveness with a hung supervisor: %d", code)
	}
	var out bytes.Buffer
	if err := probe(&boot.Process{Stdout: &out}, s.base+"/status", false, time.Second); err != nil || out.Len() == 0 {
		t.Errorf("probe: %v", err)
	}
	if err := probe(&boot.Process{Stdout: &out}, s.base+"/health", false, time.Second); err == nil {
		t.Error("probe of a draining appliance: no error")
	}
	s.stop()
}

// TestMergedMetrics recycles one worker with a last dump and kills another,
// then restarts healthd: the sum never falls.
func TestMergedMetrics(t *testing.T) {
	s := newStage(t)
	conn := s.run()
	var a, b, c atomic.Int64
	a.Store(100)
	b.Store(10)
	_, killA := s.generation(0, 1, &a)
	_, killB := s.generation(1, 2, &b)
	const served = `served_total{route="a"}`
	s.until("the sum of two", func() bool { return s.metric(served) == 110 })
	if v := s.metric("open_connections"); v != 4 {
		t.Errorf("connections %v, want 4", v)
	}
	if _, body := s.ask("GET", "/metrics?per_worker=1"); !strings.Contains(body, `served_total{route="a",slot="1",generation="2"} 10`) {
		t.Errorf("single workers:\n%s", body)
	}
	if err := os.WriteFile(s.dir.Metrics(0, 1), []byte("# TYPE served_total counter\nserved_total{route=\"a\"} 105\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	killA()
	c.Store(1)
	s.generation(0, 3, &c)
	s.until("the dump and the successor", func() bool { return s.metric(served) == 116 })
	if _, err := os.Stat(s.dir.Metrics(0, 1)); !os.IsNotExist(err) {
		t.Errorf("the dump is still there: %v", err)
	}
	s.stop()
	_ = conn.Close()
	killB() // nobody was looking
	conn = s.run()
	defer func() { _ = conn.Close() }()
	s.until("the same sum after a restart", func() bool { return s.metric(served) == 116 })
	unixClient := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", s.dir.Health())
	}}}
	resp, err := unixClient.Get("http://healthd/metrics")
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("private socket: %v", err)
	}
	s.stop()
}

// TestAskedWhenAsked: workers are not asked all the time, but what is shown is
// fresh, and who asks again at once gets the same.
func TestAskedWhenAsked(t *testing.T) {
	s := newStage(t)
	began := time.Now()
	conn := s.run()
	defer func() { _ = conn.Close() }()
	var n atomic.Int64
	s.generation(0, 1, &n)
	const rounds, served = "sluice_healthd_scrapes_total", `served_total{route="a"}`
	s.until("the first worker", func() bool { return s.metric(served) == 0 })
	asked, before := time.Now(), s.metric(rounds)
	n.Store(7)
	for range 3 {
		s.metric(served)
	}
	if after := s.metric(rounds); after > before+1 && time.Since(asked) < time.Second {
		t.Errorf("%v rounds for questions within a second", after-before)
	}
	time.Sleep(time.Second)
	before = s.metric(rounds)
	if v := s.metric(served); v != 7 {
		t.Errorf("%v is shown, 7 were served a second ago", v)
	}
	idle := time.Now()
	time.Sleep(3 * time.Second)
	after, rested := s.metric(rounds), time.Since(idle)
	if most := 2 + float64(rested/(5*time.Second)); after-before > most { // our own question, and one that was due
		t.Errorf("%v rounds in %v without a question, %v after the start", after-before, rested, time.Since(began))
	}
	s.stop()
}

// TestOrphan: the supervisor goes, healthd answers on and gives listener and
// table to the next one.
func TestOrphan(t *testing.T) {
	s := newStage(t)
	conn := s.run()
	_ = s.control.Close()
	_ = conn.Close()
	if code, _ := s.ask("GET", "/health/liveliness"); code != 200 {
		t.Errorf("liveness of an orphan: %d", code)
	}
	if err := os.Remove(s.dir.Control()); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	s.listen()
	next := s.accept()
	defer func() { _ = next.Close() }()
	var kinds []string
	for {
		m, fd, err := next.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if fd >= 0 {
			_ = syscall.Close(fd)
		}
		kinds = append(kinds, fmt.Sprint(m.Kind, m.Held, m.Orphan, fd >= 0))
		if m.Kind == fleet.KindHeldEnd {
			break
		}
	}
	want := "[hello true false heldtable false true heldlistener false true heldend false false]"
	if got := fmt.Sprint(kinds); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("handed back %s, want %s", got, want)
	}
	if code, _ := s.ask("GET", "/health/liveliness"); code != 200 {
		t.Errorf("liveness afterwards: %d", code)
	}
	s.stop()
}

func TestAloneAndBadArguments(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var out bytes.Buffer
	p := &boot.Process{
		Program: "healthd", Stdout: &out, Stderr: &out, Environ: &env.Environ{},
		Args: []string{"--host", "127.0.0.1", "--port", strconv.Itoa(l.Addr().(*net.TCPAddr).Port), "--state_dir", filepath.Join(dir, "x")},
	}
	if code := boot.Report(p, run(p)); code != fleet.ExitConfig || !strings.Contains(out.String(), "is taken") {
		t.Errorf("port taken: %d %s", code, out.String())
	}
	p.Args = []string{"--nonsense"}
	if code := boot.Report(p, run(p)); code != fleet.ExitUsage {
		t.Errorf("unknown flag: %d", code)
	}
}
