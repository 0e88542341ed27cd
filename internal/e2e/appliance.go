package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
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

	"sluice/supervisor/fleet"
)

// MasterKey is the key of every appliance that a test boots.
const MasterKey = "sk-1234567890abcdef"

// Options say what to boot. The zero value is the plain programs with two
// workers, no configuration file and SQLite.
type Options struct {
	Variant Variant           // "" is Plain
	Bin     string            // folder of the programs; "" is Binaries(Variant)
	Workers int               // 0 is 2
	Config  string            // text of config.yaml; "" is none
	Env     map[string]string // added to the environment of the supervisor
	Args    []string          // further flags of the supervisor
	Host    string            // "" is 127.0.0.1
}

// Appliance is one supervisor with all that it runs. Its methods may be called
// from several goroutines, but Start and Kill9 by one at a time.
type Appliance struct {
	Dir        string // state directory
	Bin        string // folder of the programs
	ConfigFile string // "" when started without
	Host       string
	Port       int
	HealthPort int
	Key        string

	t       testing.TB
	opts    Options
	logPath string
	client  *http.Client

	mu   sync.Mutex // guards what follows
	cmd  *exec.Cmd
	done chan struct{}
	code int
}

// New prepares an appliance; Start runs it. When the test ends, what runs is
// stopped, and the test fails if a process is left over.
func New(t testing.TB, o Options) *Appliance {
	t.Helper()
	// Not t.TempDir: its path is too long for the unix sockets in it.
	dir, err := os.MkdirTemp("", "sluice")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	a := &Appliance{
		Dir:        filepath.Join(dir, "state"),
		Bin:        o.Bin,
		Host:       o.Host,
		Port:       freePort(t),
		HealthPort: freePort(t),
		Key:        MasterKey,
		t:          t,
		opts:       o,
		logPath:    filepath.Join(dir, "appliance.log"),
		client: &http.Client{
			Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       60 * time.Second,
		},
	}
	if a.Bin == "" {
		if o.Variant == "" {
			o.Variant = Plain
		}
		a.Bin = Binaries(t, o.Variant)
	}
	if a.Host == "" {
		a.Host = "127.0.0.1"
	}
	if err := os.MkdirAll(a.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if o.Config != "" {
		a.ConfigFile = filepath.Join(dir, "config.yaml")
		a.WriteConfig(o.Config)
	}
	t.Cleanup(a.cleanup)
	return a
}

// Boot is New, Start and WaitReady.
func Boot(t testing.TB, o Options) *Appliance {
	t.Helper()
	a := New(t, o)
	a.Start()
	a.WaitReady(30 * time.Second)
	return a
}

// WriteConfig replaces the configuration file, by rename. It takes effect at a
// start or a HUP.
func (a *Appliance) WriteConfig(text string) {
	a.t.Helper()
	next := a.ConfigFile + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(next, a.ConfigFile); err != nil {
		a.t.Fatal(err)
	}
}

// Start runs the supervisor; after Kill9 or a stop it runs a successor with
// the same state directory. It does not wait for readiness.
func (a *Appliance) Start() {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done != nil {
		select {
		case <-a.done:
		default:
			a.t.Fatal("appliance is started twice")
		}
	}
	log, err := os.OpenFile(a.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		a.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.CommandContext(context.Background(), filepath.Join(a.Bin, "supervisor"), a.args()...)
	cmd.Env, cmd.Stdout, cmd.Stderr = a.environ(), log, log
	cmd.Dir = filepath.Dir(a.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.cmd, a.done = cmd, make(chan struct{})
	go a.wait(cmd, a.done)
}

// wait ends when the supervisor does.
func (a *Appliance) wait(cmd *exec.Cmd, done chan struct{}) {
	err := cmd.Wait()
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode() // -1 for a signal
	}
	a.mu.Lock()
	a.code = code
	a.mu.Unlock()
	close(done)
}

func (a *Appliance) args() []string {
	workers := a.opts.Workers
	if workers == 0 {
		workers = 2
	}
	args := []string{
		"--host", a.Host, "--port", strconv.Itoa(a.Port),
		"--num_workers", strconv.Itoa(workers), "--state_dir", a.Dir,
	}
	if a.ConfigFile != "" {
		args = append(args, "--config", a.ConfigFile)
	}
	return append(args, a.opts.Args...)
}

// environ is small and the same on every machine: a provider key or a proxy
// of the developer's shell must not change a test.
func (a *Appliance) environ() []string {
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": filepath.Dir(a.Dir), "LANG": "C.UTF-8",
		"LITELLM_MASTER_KEY":   a.Key,
		"SEPARATE_HEALTH_PORT": strconv.Itoa(a.HealthPort),
		"SLUICE_PRESTOP_DELAY": "0",
		"SLUICE_RECYCLE_FLOOR": "0s",
		"LITELLM_LOG":          "INFO",
	}
	maps.Copy(env, a.opts.Env)
	var list []string
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}

// PID is the supervisor's, 0 before the first Start.
func (a *Appliance) PID() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cmd == nil {
		return 0
	}
	return a.cmd.Process.Pid
}

// Signal sends a signal to the supervisor.
func (a *Appliance) Signal(s syscall.Signal) {
	a.t.Helper()
	if err := syscall.Kill(a.PID(), s); err != nil {
		a.t.Fatalf("signal %v to the supervisor: %v", s, err)
	}
}

// Kill9 kills the supervisor, and nothing else, and waits until it is gone.
func (a *Appliance) Kill9() {
	a.t.Helper()
	a.Signal(syscall.SIGKILL)
	a.Wait(5 * time.Second)
}

// Wait waits until the supervisor has ended and returns its exit code, -1 for
// a signal. It fails the test after d.
func (a *Appliance) Wait(d time.Duration) int {
	a.t.Helper()
	a.mu.Lock()
	done := a.done
	a.mu.Unlock()
	select {
	case <-done:
	case <-time.After(d):
		a.t.Fatalf("the supervisor has not ended after %v\n%s", d, a.Tail(40))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.code
}

// Stop sends TERM, waits for the end and returns the exit code. It closes the
// idle connections of the handle first: a stop lets idle connections live
// their keep-alive time.
func (a *Appliance) Stop() int {
	a.t.Helper()
	a.client.CloseIdleConnections()
	a.Signal(syscall.SIGTERM)
	return a.Wait(60 * time.Second)
}

// Running reports whether the supervisor lives.
func (a *Appliance) Running() bool {
	a.mu.Lock()
	done := a.done
	a.mu.Unlock()
	if done == nil {
		return false
	}
	select {
	case <-done:
		return false
	default:
		return true
	}
}

// Status is what `supervisor status --json` prints.
func (a *Appliance) Status() (fleet.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var s fleet.Status
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(a.Bin, "supervisor"), "status", "--state_dir", a.Dir, "--json")
	cmd.Env, cmd.Stderr = a.environ(), &errs
	out, err := cmd.Output()
	if err != nil {
		return s, fmt.Errorf("supervisor status: %w: %s", err, errs.String())
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("supervisor status: %w: %.200s", err, out)
	}
	return s, nil
}

// MustStatus is Status, or the end of the test.
func (a *Appliance) MustStatus() fleet.Status {
	a.t.Helper()
	s, err := a.Status()
	if err != nil {
		a.t.Fatalf("%v\n%s", err, a.Tail(40))
	}
	return s
}

// WaitStatus polls the status until ok says so and fails the test after d.
func (a *Appliance) WaitStatus(d time.Duration, what string, ok func(fleet.Status) bool) fleet.Status {
	a.t.Helper()
	deadline := time.Now().Add(d)
	for {
		s, err := a.Status()
		if err == nil && ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			b, _ := json.Marshal(s)
			a.t.Fatalf("not %s after %v: %v %s\n%s", what, d, err, b, a.Tail(40))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// WaitReady waits until healthd's readiness says 200.
func (a *Appliance) WaitReady(d time.Duration) {
	a.t.Helper()
	deadline := time.Now().Add(d)
	for {
		status, err := a.readiness()
		if status == http.StatusOK {
			return
		}
		if !a.Running() {
			a.t.Fatalf("the supervisor ended with %d before it was ready\n%s", a.Wait(time.Second), a.Tail(60))
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("not ready after %v: status %d, %v\n%s", d, status, err, a.Tail(60))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (a *Appliance) readiness() (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.HealthURL()+"/health/readiness", http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// URL is the gateway's base URL, without a slash at its end.
func (a *Appliance) URL() string { return "http://" + a.Addr() }

// Addr is the gateway's host and port.
func (a *Appliance) Addr() string { return a.Host + ":" + strconv.Itoa(a.Port) }

// HealthURL is healthd's base URL, without a slash at its end.
func (a *Appliance) HealthURL() string { return "http://" + a.Host + ":" + strconv.Itoa(a.HealthPort) }

// Log is what the appliance has written to its standard error so far.
func (a *Appliance) Log() string {
	b, _ := os.ReadFile(a.logPath)
	return string(b)
}

// Tail is the last n lines of the log, those of single requests and
// connections left out.
func (a *Appliance) Tail(n int) string {
	lines := slices.DeleteFunc(strings.SplitAfter(a.Log(), "\n"), func(line string) bool {
		return strings.Contains(line, " INFO request ") || strings.Contains(line, " DEBUG ")
	})
	return "last lines of its log:\n" + strings.Join(lines[max(0, len(lines)-n-1):], "")
}
