package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// The test binary plays all programs of the appliance: a copy of it under the
// name of a program is that program. The workers are small ones that speak the
// control protocol and answer one line a connection.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "supervisor":
		boot.Main("supervisor", run)
	case "proxy", "healthd":
		if slices.Contains(os.Args, "preflight") {
			_, _ = os.Stdout.Write(env.Process().Bytes())
			os.Exit(0)
		}
		if err := playChild(filepath.Base(os.Args[0])); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	case "migrator":
		for fileBeside("slow") {
			time.Sleep(10 * time.Millisecond)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fileBeside tells the programs of a box apart from plain ones.
func fileBeside(name string) bool {
	_, err := os.Stat(filepath.Join(filepath.Dir(os.Args[0]), name))
	return err == nil
}

// played is a child with what it holds.
type played struct {
	role       string
	slot, gen  int
	conn       *fleet.Conn
	table      *fleet.Table
	tableFD    int
	area       int
	bells      map[int]int
	listeners  []held
	mu         sync.Mutex // guards accepting
	accepting  map[int]bool
	everything bool
}

func playChild(role string) error {
	p := &played{role: role, bells: map[int]int{}, accepting: map[int]bool{}}
	p.slot, _ = strconv.Atoi(os.Getenv(fleet.EnvSlot))
	p.gen, _ = strconv.Atoi(os.Getenv(fleet.EnvGeneration))
	if err := p.join(); err != nil {
		return err
	}
	if role == "proxy" {
		p.accept([]int{p.slot})
		for _, l := range p.listeners {
			go p.serve(l)
		}
		if fileBeside("orphans") {
			// A process that nobody will wait for but process 1.
			_ = exec.Command("/bin/sh", "-c", "(sleep 0.2; exit 3) & exit 0").Run()
		}
		page := p.table.Generation(p.area)
		go func() {
			for {
				page.Beat.Store(fleet.Now())
				time.Sleep(200 * time.Millisecond)
			}
		}()
	}
	if err := p.conn.Send(fleet.Message{Kind: fleet.KindReady}, -1); err != nil {
		return err
	}
	for {
		m, _, err := p.conn.Receive()
		switch {
		case err != nil:
			if !p.orphaned() {
				return errors.New("no successor came")
			}
		case m.Kind == fleet.KindReload && fileBeside("bad-config"):
			_ = p.conn.Send(fleet.Message{Kind: fleet.KindRefused, Reason: "line 3: what is this?"}, -1)
		case m.Kind == fleet.KindReload:
			_ = p.conn.Send(fleet.Message{Kind: fleet.KindApplied, Config: 2}, -1)
		case m.Kind == fleet.KindAdopt:
			p.accept(append([]int{p.slot}, m.Slots...))
		case m.Kind == fleet.KindLame, m.Kind == fleet.KindCut:
			p.accept(nil)
			time.Sleep(50 * time.Millisecond)
			return nil
		}
	}
}

func (p *played) hello() fleet.Message {
	return fleet.Message{Kind: fleet.KindHello, Role: p.role, PID: os.Getpid(), Slot: p.slot, Generation: p.gen, Area: p.area}
}

func (p *played) join() error {
	var err error
	if p.conn, err = fleet.Dial(os.Getenv(fleet.EnvControl)); err != nil {
		return err
	}
	if err := p.conn.Send(p.hello(), -1); err != nil {
		return err
	}
	for {
		m, fd, err := p.conn.Receive()
		if err != nil {
			return err
		}
		switch m.Kind {
		case fleet.KindTable:
			if p.table, err = fleet.OpenTable(fd, false); err != nil {
				return err
			}
			p.tableFD, p.area = fd, m.Area
		case fleet.KindDoorbell:
			p.bells[m.Slot] = fd
		case fleet.KindListener:
			p.listeners = append(p.listeners, held{m, fd})
		case fleet.KindBegin:
			return nil
		}
	}
}

func (p *played) orphaned() bool {
	p.mu.Lock()
	p.everything = true
	p.mu.Unlock()
	for range 100 {
		time.Sleep(50 * time.Millisecond)
		conn, err := fleet.Dial(os.Getenv(fleet.EnvControl))
		if err != nil {
			continue
		}
		hello := p.hello()
		hello.Orphan, hello.State = true, fleet.StateReady.String()
		_ = conn.Send(hello, -1)
		_ = conn.Send(fleet.Message{Kind: fleet.KindHeld, Held: fleet.KindTable, Area: p.area}, p.tableFD)
		for slot, fd := range p.bells {
			_ = conn.Send(fleet.Message{Kind: fleet.KindHeld, Held: fleet.KindDoorbell, Slot: slot}, fd)
		}
		for _, l := range p.listeners {
			_ = conn.Send(fleet.Message{Kind: fleet.KindHeld, Held: fleet.KindListener, Listener: l.m.Listener}, l.fd)
		}
		_ = conn.Send(fleet.Message{Kind: fleet.KindHeldEnd}, -1)
		p.conn = conn
		return true
	}
	return false
}

func (p *played) accept(slots []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.everything = false
	p.accepting = map[int]bool{}
	for _, s := range slots {
		p.accepting[s] = true
	}
}

// serve polls, so that a listener can be left without closing it.
func (p *played) serve(l held) {
	for {
		p.mu.Lock()
		mine := p.everything || p.accepting[l.m.Listener.Slot]
		p.mu.Unlock()
		fd := -1
		if mine {
			if n, _, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC); err == nil {
				fd = n
			}
		}
		if fd < 0 {
			time.Sleep(2 * time.Millisecond)
			continue
		}
		p.table.Generation(p.area).Accepted.Add(1)
		_, _ = unix.Write(fd, []byte(strconv.Itoa(p.gen)+"\n"))
		_ = unix.Close(fd)
	}
}

// box is an appliance of copies of the test binary in a folder of its own.
type box struct {
	t    *testing.T
	dir  string
	addr string
	cmd  *exec.Cmd
}

func newBox(t *testing.T) *box {
	t.Helper()
	dir, err := os.MkdirTemp("", "box") // short: unix sockets live in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"supervisor", "proxy", "healthd", "migrator"} {
		if err := os.Link(self, filepath.Join(dir, name)); err != nil {
			b, err := os.ReadFile(self)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, dir: dir, addr: probe.Addr().String()}
	_ = probe.Close()
	return b
}

func (b *box) start() {
	b.t.Helper()
	_, port, _ := net.SplitHostPort(b.addr)
	b.cmd = exec.Command(filepath.Join(b.dir, "supervisor"), "--host", "127.0.0.1", "--port", port,
		"--num_workers", "2", "--state_dir", filepath.Join(b.dir, "s"))
	b.cmd.Env = append(os.Environ(), "SEPARATE_HEALTH_PORT=0", "SLUICE_PRESTOP_DELAY=0", "SLUICE_RECYCLE_FLOOR=0", "SECRET_OF_OURS=hidden")
	if testing.Verbose() {
		// A file, not a writer: with a pipe, Wait would wait for the orphans too.
		b.cmd.Stderr = os.Stderr
	}
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	cmd := b.cmd
	b.t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGQUIT); _ = cmd.Wait() })
}

func (b *box) status() *fleet.Status {
	st, err := askStatus(fleet.Dir(filepath.Join(b.dir, "s")))
	if err != nil {
		return &fleet.Status{}
	}
	return st
}

// await waits for a state of the appliance.
func (b *box) await(what string, ok func(*fleet.Status) bool) *fleet.Status {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		st := b.status()
		if ok(st) {
			return st
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: not within 20 s: %+v", what, st)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// one says that each slot has exactly one generation, ready and none of old.
func one(old ...int) func(*fleet.Status) bool {
	return func(st *fleet.Status) bool {
		for _, s := range st.Slots {
			if len(s.Generations) != 1 || s.Generations[0].State != "ready" || slices.Contains(old, s.Generations[0].PID) {
				return false
			}
		}
		return len(st.Slots) == 2 && st.Healthd.State == "ready" && !slices.Contains(old, st.Healthd.PID)
	}
}

func pids(st *fleet.Status) []int {
	out := []int{st.Healthd.PID}
	for _, s := range st.Slots {
		for _, g := range s.Generations {
			out = append(out, g.PID)
		}
	}
	return out
}

// ask connects until told to stop, and counts every connection that fails.
func (b *box) ask(stop <-chan struct{}) <-chan [2]int {
	out := make(chan [2]int, 1)
	go func() {
		var n [2]int
		for {
			select {
			case <-stop:
				out <- n
				return
			default:
			}
			n[0]++
			c, err := net.DialTimeout("tcp", b.addr, 5*time.Second)
			if err == nil {
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				_, err = bufio.NewReader(c).ReadString('\n')
				_ = c.Close()
			}
			if err != nil {
				n[1]++
				b.t.Logf("connection failed at %v: %v", time.Now().Format("05.000"), err)
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return out
}

func TestApplianceOfRealProcesses(t *testing.T) {
	b := newBox(t)
	b.start()
	st := b.await("start", one())
	stop := make(chan struct{})
	asked := b.ask(stop)

	victim := st.Slots[0].Generations[0].PID
	b.await("worker settled", func(st *fleet.Status) bool { return st.Slots[0].Generations[0].AgeS > 1.3 })
	killed := time.Now()
	_ = syscall.Kill(victim, syscall.SIGKILL)
	b.await("worker killed", one(victim))
	if took := time.Since(killed); took > 2*time.Second {
		t.Errorf("worker replaced after %v", took)
	} else {
		t.Logf("worker replaced after %v", took)
	}

	st = b.await("before upgrade", one(victim))
	old := pids(st)
	_ = b.cmd.Process.Signal(syscall.SIGUSR2)
	st = b.await("upgrade", one(old...))
	if st.PID != b.cmd.Process.Pid {
		t.Errorf("process number changed from %d to %d", b.cmd.Process.Pid, st.PID)
	}
	if st.Recycles.ByReason[reasonUpgrade] != 2 || st.Recycles.ByReason["crash"] != 1 {
		t.Errorf("recycles %v", st.Recycles.ByReason)
	}
	b.checkSockets(st)

	old = pids(st)
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	b.start()
	st = b.await("takeover", one(old...))
	b.checkSockets(st)
	for _, pid := range old {
		if startTicks(pid) != 0 {
			t.Errorf("process %d of the earlier supervisor is left over", pid)
		}
	}
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(st.Slots[0].Generations[0].PID) + "/environ")
	if err != nil || strings.Contains(string(environ), "SECRET_OF_OURS") {
		t.Errorf("worker's environment: %v, %q", err, environ)
	}

	close(stop)
	if n := <-asked; n[1] != 0 || n[0] < 100 {
		t.Errorf("%d of %d connections failed", n[1], n[0])
	}
	_ = b.cmd.Process.Signal(syscall.SIGTERM)
	if err := b.cmd.Wait(); err != nil {
		t.Errorf("stop: %v, want code 0", err)
	}
	for _, pid := range pids(st) {
		if startTicks(pid) != 0 {
			t.Errorf("process %d is left over", pid)
		}
	}
}

// checkSockets looks from inside the supervisor's and the workers' tables of
// descriptors: every listener must still be non-blocking for all.
func (b *box) checkSockets(st *fleet.Status) {
	b.t.Helper()
	if len(st.Listeners) != 3 {
		b.t.Errorf("listeners %+v, want two of main and healthd's", st.Listeners)
	}
	found := 0
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", st.PID))
	for _, link := range links {
		target, _ := os.Readlink(link)
		if !strings.HasPrefix(target, "socket:") {
			continue
		}
		info, err := os.ReadFile(strings.Replace(link, "/fd/", "/fdinfo/", 1))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(info)) {
			if flags, ok := strings.CutPrefix(line, "flags:"); ok {
				n, err := strconv.ParseUint(strings.TrimSpace(flags), 8, 64)
				if err != nil || n&unix.O_NONBLOCK == 0 {
					b.t.Errorf("socket %s of the supervisor blocks: flags %s", link, flags)
				}
				found++
			}
		}
	}
	if found < 3 {
		b.t.Errorf("%d sockets looked at, want 3 and more", found)
	}
}

func TestSecondSupervisorIsRefused(t *testing.T) {
	b := newBox(t)
	b.start()
	b.await("start", one())
	second := exec.Command(filepath.Join(b.dir, "supervisor"), "--state_dir", filepath.Join(b.dir, "s"))
	out, err := second.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != fleet.ExitConfig || !strings.Contains(string(out), "another supervisor") {
		t.Errorf("second supervisor: %v, %s", err, out)
	}
}

// TestSignalsDuringUpgrade: between two programs of one process nobody listens
// for signals. Those that are sent then, such as a second upgrade or a reload,
// end nothing.
func TestSignalsDuringUpgrade(t *testing.T) {
	b := newBox(t)
	b.start()
	old := pids(b.await("start", one()))
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); {
		for _, sig := range []os.Signal{syscall.SIGUSR2, syscall.SIGHUP} {
			if err := b.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Microsecond) // the gap is a few milliseconds
	}
	st := b.await("upgrade", one(old...))
	if st.PID != b.cmd.Process.Pid || st.Recycles.ByReason[reasonUpgrade] < 2 {
		t.Errorf("process %d was %d; recycles %v", st.PID, b.cmd.Process.Pid, st.Recycles.ByReason)
	}
}
