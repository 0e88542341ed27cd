package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a contender that runs.
type process struct {
	contender

	addr  string
	key   string   // what the load is sent with
	lock  *os.File // on the journals; nil: the contender ships
	spare string   // address of its healthd
	dir   string
	cmd   *exec.Cmd // nil for direct
	log   string
	done  chan struct{}
}

// launch starts a contender and waits until it answers. The upstream is a
// contender too, the first.
func launch(ctx context.Context, dir string, c contender, o *options) (*process, error) {
	p := &process{contender: c, key: masterKey, dir: filepath.Join(dir, c.name), done: make(chan struct{})}
	if c.command == nil {
		p.addr = o.upstream
		return p, nil
	}
	addrs, err := free(ctx, 2)
	if err != nil {
		return nil, err
	}
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return nil, fmt.Errorf("find the programs: %w", err)
	}
	at := &place{
		dir: p.dir, addr: addrs[0], spare: addrs[1], upstream: o.upstream, cpus: o.cpus.contender.Count(), bin: bin, beat: beat(o), database: o.database, redis: o.redis,
	}
	p.addr, p.spare, p.log = at.addr, at.spare, filepath.Join(p.dir, "log")
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of %s: %w", c.name, err)
	}
	if c.files != nil {
		for name, text := range c.files(at) {
			if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
				return nil, fmt.Errorf("write %s: %w", name, err)
			}
		}
	}
	if c.ships {
		if err := p.holdBack(); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("make the log of %s: %w", c.name, err)
	}
	defer func() { _ = log.Close() }()
	args := c.command(at)
	if _, err := exec.LookPath(args[0]); err != nil {
		return nil, fmt.Errorf("start %s: %w; build it first (make build), or leave it out (--only)", c.name, err)
	}
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(p.cmd.Env, "PATH="+os.Getenv("PATH"), "HOME="+p.dir)
	if c.env != nil {
		p.cmd.Env = append(p.cmd.Env, c.env(at)...)
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a group of the scheduler (sched_autogroup), as a service has one
	if err := o.cpus.start(p); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	go func() { // ends with the process
		_ = p.cmd.Wait()
		close(p.done)
	}()
	err = p.ready(ctx)
	if err == nil && c.virtual != nil {
		p.key, err = c.virtual(ctx, p)
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// again starts the contender anew, with its rows held back.
func (p *process) again(ctx context.Context, dir string, o *options) error {
	p.stop()
	if err := os.RemoveAll(p.dir); err != nil {
		return fmt.Errorf("clear the directory of %s: %w", p.name, err)
	}
	next, err := launch(ctx, dir, p.contender, o)
	if err != nil {
		return err
	}
	*p = *next
	return nil
}

// free finds addresses that nobody listens on.
func free(ctx context.Context, n int) ([]string, error) {
	var addrs []string
	var lc net.ListenConfig
	for range n {
		ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = ln.Close() }()
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs, nil
}

func split(addr string) (host, port string) {
	host, port, _ = net.SplitHostPort(addr)
	return host, port
}

// ready waits until a chat request is answered with 200.
func (p *process) ready(ctx context.Context) error {
	last := error(nil)
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.name, p.tail())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if last = p.ask(ctx); last == nil {
			return nil
		}
	}
	return fmt.Errorf("%s did not answer in 15 s: %w: %s", p.name, last, p.tail())
}

func (p *process) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.addr+"/v1/chat/completions", strings.NewReader(chat(p.model("bench"), "")))
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+masterKey)
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", p.name, err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", p.name, res.StatusCode)
	}
	return nil
}

func (p *process) model(name string) string {
	if p.models {
		return name
	}
	return "bench"
}

// tail is the end of its log, for an error.
func (p *process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(b[max(0, len(b)-2000):]))
}

// stop ends the process and all it started: asked first, killed after 10 s.
func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	if p.lock != nil {
		_ = p.lock.Close()
		p.lock = nil
	}
	all := p.tree()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	for _, t := range all {
		if now, ok := read(t.pid); ok && now.started == t.started {
			_ = syscall.Kill(t.pid, syscall.SIGKILL)
		}
	}
	<-p.done
}

// task is a line of the process table.
type task struct {
	pid, parent int
	started     uint64        // clock ticks since boot: with the pid, who it is
	cpu         time.Duration // user and system
}

// tree is the process and all its descendants.
func (p *process) tree() []task {
	if p.cmd == nil {
		return nil
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	children := map[int][]task{}
	var found []task
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if t, ok := read(pid); ok {
			if pid == p.cmd.Process.Pid {
				found = append(found, t)
			}
			children[t.parent] = append(children[t.parent], t)
		}
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found
}

// read reads /proc/PID/stat (proc(5)); the clock tick is 10 ms on Linux.
func read(pid int) (task, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return task{}, false
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return task{}, false
	}
	number := func(i int) uint64 {
		n, err := strconv.ParseUint(fields[i-3], 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return task{
		pid: pid, parent: int(number(4)), started: number(22),
		cpu: time.Duration(number(14)+number(15)) * 10 * time.Millisecond,
	}, true
}

// cpu is what all its processes have used so far; what died is not in it.
func (p *process) cpu() time.Duration {
	var sum time.Duration
	for _, t := range p.tree() {
		sum += t.cpu
	}
	return sum
}

// rss is the resident memory of all its processes, in bytes; pages that they
// share count in each.
func (p *process) rss() int64 {
	var sum int64
	for _, t := range p.tree() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", t.pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(b))
		if len(fields) < 2 {
			continue
		}
		pages, err := strconv.ParseInt(fields[1], 10, 64)
		if err == nil {
			sum += pages * int64(os.Getpagesize())
		}
	}
	return sum
}
