package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"go.uber.org/automaxprocs/maxprocs"
	"golang.org/x/sys/unix"

	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// mainName is the listener that --host and --port mean.
const mainName = "main"

// plan is everything that the supervisor decides once, at its start.
type plan struct {
	stateDir  fleet.Dir
	slots     int
	maxprocs  int    // GOMAXPROCS of a worker
	memory    uint64 // bytes that the appliance may use
	memLimit  uint64 // GOMEMLIMIT of a worker, bytes
	maxRSS    uint64 // a worker above it for 30 s is recycled, bytes
	endpoints []endpoint
	health    endpoint

	recycleAfter  int           // requests, 0 never
	recycleJitter int           // requests; 0: 20 % of recycleAfter
	recycleFloor  time.Duration // between two recycles of one slot
	prestop       time.Duration
	window        time.Duration // of a stop
	startPause    time.Duration // the longest before a start that follows failed ones

	skipServers bool
}

// machine is what plan needs to know of the host, so that it is pure.
type machine struct {
	cpus     int
	memory   uint64 // bytes
	terminal bool   // standard input is one
	root     bool
}

// lookAround asks the host. A container's CPU quota and memory limit count.
func lookAround() machine {
	undo, err := maxprocs.Set()
	m := machine{cpus: runtime.GOMAXPROCS(0), memory: memoryLimit(), root: os.Geteuid() == 0}
	if err == nil {
		undo()
	}
	if st, err := os.Stdin.Stat(); err == nil {
		m.terminal = st.Mode()&os.ModeCharDevice != 0 && st.Mode()&os.ModeDevice != 0 && isTerminal(int(os.Stdin.Fd()))
	}
	return m
}

// newPlan makes the plan from the environment, into which the flags have been
// merged. Its errors say what is allowed; they mean exit 64.
func newPlan(e *env.Environ, m machine) (plan, error) {
	p := plan{memory: m.memory, stateDir: stateDir(e, m)}
	n, counted, err := workers(e, m.cpus)
	if err != nil {
		return p, err
	}
	if p.slots = n; counted { // a machine with many CPUs and little memory
		p.slots = max(min(p.slots, fitting(m.memory)), 1)
	}
	if err := p.sizes(e, m); err != nil {
		return p, err
	}
	if err := p.times(e, m); err != nil {
		return p, err
	}
	if err := p.listeners(e); err != nil {
		return p, err
	}
	if p.skipServers, err = e.Bool("SKIP_SERVER_STARTUP", false); err != nil {
		return p, err
	}
	const longest = 80 // a unix socket's path has room for 107 bytes
	if len(p.stateDir.Run()) > longest {
		return p, fmt.Errorf("state directory %s: its path may have %d bytes at most", p.stateDir, longest-len("/run"))
	}
	return p, nil
}

func stateDir(e *env.Environ, m machine) fleet.Dir {
	dir := e.Get("SLUICE_STATE_DIR")
	if dir == "" {
		dir = e.Get("STATE_DIRECTORY") // set by systemd
	}
	switch {
	case dir != "":
	case m.root:
		dir = "/var/lib/sluice"
	case e.Get("HOME") != "":
		dir = filepath.Join(e.Get("HOME"), ".local", "state", "sluice")
	default:
		dir = ".sluice"
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return fleet.Dir(dir)
}

// workers reads NUM_WORKERS. 0, nothing, auto and a literal $(nproc), which
// comes out of container definitions that no shell reads, mean one per CPU (counted).
func workers(e *env.Environ, cpus int) (n int, counted bool, err error) {
	text := strings.TrimSpace(e.Get("NUM_WORKERS"))
	if text == "" {
		text = gunicorn(e.Get("GUNICORN_CMD_ARGS"), "--workers", "-w")
	}
	switch strings.Trim(text, `"'`) {
	case "", "0", "auto", "$(nproc)", "`nproc`":
		return min(max(cpus, 1), fleet.MaxSlots), true, nil
	}
	n, err = strconv.Atoi(text)
	if err != nil || n < 0 || n > fleet.MaxSlots {
		return 0, false, fmt.Errorf("number of workers %q: allowed are 1 to %d, or 0 or auto for one per CPU", text, fleet.MaxSlots)
	}
	return n, false, nil
}

// gunicorn finds the value of an option in GUNICORN_CMD_ARGS.
func gunicorn(args string, names ...string) string {
	fields := strings.Fields(args)
	for i, field := range fields {
		for _, name := range names {
			if value, ok := strings.CutPrefix(field, name+"="); ok {
				return value
			}
			if field == name && i+1 < len(fields) {
				return fields[i+1]
			}
		}
	}
	return ""
}

func (p *plan) sizes(e *env.Environ, m machine) error {
	var err error
	if p.maxprocs, err = e.Int("SLUICE_WORKER_GOMAXPROCS", max(1, m.cpus/p.slots)); err != nil {
		return err
	}
	// 55 % of the memory for workers that serve; draining ones, caches of the
	// kernel and the other programs have the rest.
	p.memLimit = max(m.memory/100*55/uint64(p.slots), 64<<20)
	rss, err := e.Int("SLUICE_WORKER_MAX_RSS", int(p.memLimit/100*80))
	if err != nil {
		return err
	}
	p.maxRSS = uint64(max(rss, 0))

	after := e.Get("MAX_REQUESTS_BEFORE_RESTART")
	jitter := e.Get("MAX_REQUESTS_BEFORE_RESTART_JITTER")
	if after == "" {
		after = gunicorn(e.Get("GUNICORN_CMD_ARGS"), "--max-requests")
	}
	if jitter == "" {
		jitter = gunicorn(e.Get("GUNICORN_CMD_ARGS"), "--max-requests-jitter")
	}
	if p.recycleAfter, err = count("requests before a restart", after); err != nil {
		return err
	}
	p.recycleJitter, err = count("jitter of requests before a restart", jitter)
	return err
}

func count(what, text string) (int, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s %q: allowed are 0 (never) and up", what, text)
	}
	return n, nil
}

func (p *plan) times(e *env.Environ, m machine) error {
	prestop := 15 * time.Second
	if m.terminal {
		prestop = 0
	}
	for _, t := range []struct {
		name string
		def  time.Duration
		to   *time.Duration
	}{
		{"SLUICE_RECYCLE_FLOOR", time.Minute, &p.recycleFloor},
		{"SLUICE_PRESTOP_DELAY", prestop, &p.prestop},
		{"SUPERVISORD_STOPWAITSECS", time.Hour, &p.window},
		{"SLUICE_START_PAUSE", longestPause, &p.startPause},
	} {
		d, err := e.Seconds(t.name, t.def)
		if err != nil {
			return err
		}
		*t.to = d
	}
	return nil
}

func (p *plan) listeners(e *env.Environ) error {
	host, port := e.Get("HOST"), e.Get("PORT")
	if bind := gunicorn(e.Get("GUNICORN_CMD_ARGS"), "--bind", "-b"); bind != "" && host == "" && port == "" {
		if at := strings.LastIndexByte(bind, ':'); at >= 0 {
			host, port = bind[:at], bind[at+1:]
		}
	}
	if port == "" {
		port = "4000"
	}
	if host == "" {
		host = "0.0.0.0"
	}
	proxied, err := e.Bool("SLUICE_PROXY_PROTOCOL", false)
	if err != nil {
		return err
	}
	trusted, err := parseNetworks(e.Get("SLUICE_TRUSTED_PROXIES"))
	if err != nil {
		return err
	}
	first := endpoint{
		name: mainName, network: "tcp", address: net.JoinHostPort(strings.Trim(host, "[]"), port),
		tls:   e.Get(envKeyFile) != "" && e.Get(envCertFile) != "",
		proxy: proxied, trusted: trusted,
	}
	if _, _, err := splitAddress(first.address); err != nil {
		return err
	}
	more, err := parseEndpoints(e.Get("SLUICE_LISTEN"))
	if err != nil {
		return err
	}
	p.endpoints = append([]endpoint{first}, more...)
	healthPort := e.Get("SEPARATE_HEALTH_PORT")
	if healthPort == "" {
		healthPort = "4001"
	}
	p.health = endpoint{name: healthName, network: "tcp", address: net.JoinHostPort(strings.Trim(host, "[]"), healthPort)}
	if p.health.tls, err = e.Bool(envHealthTLS, false); err != nil {
		return err
	}
	if _, _, err := splitAddress(p.health.address); err != nil {
		return fmt.Errorf("SEPARATE_HEALTH_PORT: %w", err)
	}
	return nil
}

// Variables of TLS that healthd is told too.
const (
	envCertFile  = "SSL_CERTFILE_PATH"
	envKeyFile   = "SSL_KEYFILE_PATH"
	envHealthTLS = "SLUICE_HEALTH_TLS"
)

// certified refuses a listener that is to speak TLS and has no certificate to
// show: it must not be found out by those who connect to it.
func (p *plan) certified(full *env.Environ) error {
	if full.Get(envCertFile) != "" && full.Get(envKeyFile) != "" {
		return nil
	}
	if p.health.tls {
		return fmt.Errorf("%s is set, and no certificate is: name its files in --ssl_certfile_path and --ssl_keyfile_path", envHealthTLS)
	}
	for _, e := range p.endpoints {
		if e.tls {
			return fmt.Errorf("listener %s has tls=1, and no certificate is configured: name its files in --ssl_certfile_path and --ssl_keyfile_path", e.name)
		}
	}
	return nil
}

// memoryLimit is the least of the machine's memory and of the limits of our
// control groups, versions 1 and 2, in bytes.
func memoryLimit() uint64 {
	least := totalMemory()
	groups, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		root, file := "/sys/fs/cgroup", "memory.max"
		if fields[1] == "memory" {
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if fields[1] != "" {
			continue
		}
		for dir := fields[2]; ; dir = filepath.Dir(dir) {
			if n := readNumber(filepath.Join(root, dir, file)); n > 0 {
				least = min(least, n)
			}
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	return least
}

// totalMemory is that of the machine. It is asked of the kernel, because a
// sandbox may hide /proc/meminfo.
func totalMemory() uint64 {
	const whenUnknown = 1 << 30
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil || info.Totalram == 0 {
		return whenUnknown
	}
	return info.Totalram * uint64(max(info.Unit, 1))
}

// readNumber reads a file that holds one number; anything else is 0.
func readNumber(path string) uint64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
