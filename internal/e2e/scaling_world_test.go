//go:build e2e

package e2e

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/internal/fakeprovider"
	"sluice/internal/postgres/pgtest"
	"sluice/internal/redistest"
)

// park is three hosts, each in a network namespace of its own, on one PostgreSQL
// and one Redis, behind an HAProxy that is configured as docs/scaling.md says.
type park struct {
	t        *testing.T
	hosts    []*Appliance
	programs []string // folder of each host's own
	db       *pgtest.Server
	url      string // of the database
	provider *fakeprovider.Provider
	balancer *haproxy
	key      string // of the load
}

func newPark(t *testing.T) *park {
	t.Helper()
	at := bridge(t)
	p := &park{t: t, db: pgtest.New(t)}
	p.url = strings.Replace(p.db.Database(t), "127.0.0.1", at, 1)
	p.openDatabase(at)
	redis := redistest.On(t, at, "--protected-mode", "no")
	var err error
	if p.provider, err = fakeprovider.New(fakeprovider.Config{Addr: at + ":0"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.provider.Close() })
	for i := range 3 {
		// Programs of its own, so that one host can be upgraded.
		programs := t.TempDir()
		CopyBinaries(t, Binaries(t, Plain), programs)
		o := Options{
			Config: MixConfig(p.provider) + "router_settings: {num_retries: 0, " + redisAt(redis) + "}\n",
			Env: map[string]string{
				"DATABASE_URL": p.url, "LITELLM_SALT_KEY": "sk-salt-of-the-tests", "LITELLM_LOG": "WARNING", "SLUICE_PRESTOP_DELAY": "2",
			},
		}
		o.Bin, o.Host = namespaceWith(t, i, programs)
		a := New(t, o)
		a.Start()
		p.hosts, p.programs = append(p.hosts, a), append(p.programs, programs)
	}
	for _, a := range p.hosts {
		a.allReady()
		a.WaitHealth(t, "/health/readiness", `"redis":"connected"`)
	}
	p.key = p.hosts[0].generate(`{"max_budget":1000,"rpm_limit":1000000}`)
	for _, a := range p.hosts {
		a.soon("the key on every host", p.key, "whole", 200, 3*time.Second)
	}
	p.balancer = newHAProxy(t, p.hosts)
	p.balancer.all(t, "UP", 10*time.Second)
	return p
}

// openDatabase has PostgreSQL listen on the bridge too.
func (p *park) openDatabase(at string) {
	p.t.Helper()
	hba, err := os.OpenFile(filepath.Join(p.db.Dir, "data", "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	_, err = hba.WriteString("host all all 10.213.77.0/24 trust\n")
	if err := hba.Close(); err != nil {
		p.t.Fatal(err)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.db.Configure("listen_addresses=127.0.0.1," + at)
	p.db.Stop(p.t)
	p.db.Start(p.t)
}

// load starts a mixed load at a frontend of the balancer.
func (p *park) load(addr string) *Load {
	spec := p.hosts[0].Mix(10 * time.Minute)
	spec.Addr, spec.Key = addr, p.key
	spec.Classes = slices.DeleteFunc(spec.Classes, func(c loadgen.Class) bool { return c.Name == "full" })
	return StartLoad(p.t, spec)
}

// haproxy is a running HAProxy. It listens three times: as documented, with
// readiness alone (nothing is ever repeated), and blind.
type haproxy struct {
	documented, strict, blind string // addresses
	socket                    string

	mu   sync.Mutex
	seen []poolState // of the documented backend, when it changed
}

// poolState is the pool from a moment on: the state of each server, by name.
type poolState struct {
	at    time.Time
	hosts map[string]string
}

// documentedHAProxy is the configuration in docs/scaling.md.
func documentedHAProxy(t *testing.T) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "scaling.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "```haproxy\n")
	text, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("docs/scaling.md holds no block of haproxy")
	}
	return text
}

var (
	bindLine   = regexp.MustCompile(`(?m)^(\s+bind) \S+`)
	serverLine = regexp.MustCompile(`(?m)^\s+server host(\d+) \S+.*\n`)
)

// newHAProxy runs the documented configuration with our addresses in place of
// those in it. The other two frontends have the same servers.
func newHAProxy(t *testing.T, hosts []*Appliance) *haproxy {
	t.Helper()
	h := &haproxy{socket: filepath.Join(t.TempDir(), "s")}
	text := documentedHAProxy(t)
	if n := len(serverLine.FindAllString(text, -1)); n != len(hosts) {
		t.Fatalf("docs/scaling.md has %d servers, want %d", n, len(hosts))
	}
	servers := func(checked bool) (lines string) {
		for i, a := range hosts {
			lines += fmt.Sprintf("  server host%d %s", i+1, a.Addr())
			if checked {
				lines += fmt.Sprintf(" check port %d", a.HealthPort)
			}
			lines += "\n"
		}
		return lines
	}
	ports := []int{freePort(t), freePort(t), freePort(t)}
	h.documented, h.strict, h.blind = local(ports[0]), local(ports[1]), local(ports[2])
	text = bindLine.ReplaceAllString(text, "${1} "+h.documented)
	at := serverLine.FindStringIndex(text)[0]
	text = serverLine.ReplaceAllString(text, "")
	text = text[:at] + servers(true) + text[at:]
	text = strings.Replace(text, "global\n", "global\n  stats socket "+h.socket+" mode 600 level admin\n", 1)
	text += fmt.Sprintf(`
frontend strict
  bind %s
  default_backend strict
backend strict
  retries 0
  no option redispatch
  option httpchk GET /health/readiness
  default-server inter 500ms fastinter 250ms fall 2 rise 2
%sfrontend blind
  bind %s
  default_backend blind
backend blind
  retries 0
  no option redispatch
%s`, h.strict, servers(true), h.blind, servers(false))
	h.run(t, text)
	return h
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func (h *haproxy) run(t *testing.T, text string) {
	t.Helper()
	said := startHAProxy(t, text)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := h.ask("show info"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("haproxy does not run: %s\n%s", said.String(), text)
		}
	}
	if said.Len() > 0 {
		t.Errorf("haproxy is not content with the configuration: %s", said.String())
	}
	ctx := t.Context()
	go func() { // ends with the test
		for ctx.Err() == nil {
			h.look()
			time.Sleep(20 * time.Millisecond)
		}
	}()
}

// ask sends one command to the statistics socket.
func (h *haproxy) ask(command string) (string, error) {
	c, err := net.DialTimeout("unix", h.socket, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write([]byte(command + "\n")); err != nil {
		return "", err
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(c)
	return b.String(), err
}

// stats are fields of the servers of a backend, by name.
func (h *haproxy) stats(backend, field string) map[string]string {
	text, err := h.ask("show stat")
	if err != nil {
		return nil
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "# "))).ReadAll()
	if err != nil || len(rows) == 0 {
		return nil
	}
	column := slices.Index(rows[0], field)
	out := map[string]string{}
	for _, row := range rows[1:] {
		if row[0] == backend && strings.HasPrefix(row[1], "host") && column >= 0 {
			out[row[1]] = row[column]
		}
	}
	return out
}

// look notes the states of the servers where they have changed. "UP 1/2" is a
// server that is still up and failed a check.
func (h *haproxy) look() {
	hosts := h.stats("sluice", "status")
	if len(hosts) == 0 {
		return
	}
	for name, state := range hosts {
		hosts[name], _, _ = strings.Cut(state, " ")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.seen); n == 0 || fmt.Sprint(h.seen[n-1].hosts) != fmt.Sprint(hosts) {
		h.seen = append(h.seen, poolState{time.Now(), hosts})
	}
}

// left returns the servers that were out of the pool since a moment.
func (h *haproxy) left(since time.Time) (names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range h.seen {
		if i+1 < len(h.seen) && h.seen[i+1].at.Before(since) {
			continue
		}
		for name, state := range s.hosts {
			if state != "UP" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// is waits until a server has a state and returns how long that took.
func (h *haproxy) is(t *testing.T, name, state string, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		now := h.stats("sluice", "status")[name]
		if strings.HasPrefix(now, state) {
			return time.Since(began)
		}
		if time.Since(began) > within {
			t.Fatalf("haproxy has %s %s after %v, want %s", name, now, within, state)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (h *haproxy) all(t *testing.T, state string, within time.Duration) {
	t.Helper()
	for _, name := range []string{"host1", "host2", "host3"} {
		h.is(t, name, state, within)
	}
	time.Sleep(50 * time.Millisecond) // the look at it comes after
}
