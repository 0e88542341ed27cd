package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/ochinchina/supervisord/config"
	"github.com/ochinchina/supervisord/events"
	"github.com/ochinchina/supervisord/process"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// exitUnknown stands for an end whose status nobody saw.
const exitUnknown = -1000

// childSpec says what to start. Names and values go through an ini text, so
// that they are limited to what that can carry: see iniSafe.
type childSpec struct {
	name string   // unique over the life of the appliance
	path string   // absolute path of the binary
	args []string // without the program itself
	env  []string // NAME=VALUE, added to the supervisor's own environment
}

// childEvent tells of the start or the end of a child.
type childEvent struct {
	name   string
	exited bool
	pid    int // of a start; 0: it could not be started and the end follows
	status int // of an end: exit code, minus the signal, or exitUnknown
}

// engine starts processes and tells of their ends; it decides nothing. Each
// name that was spawned or watched gets exactly one event with exited set.
type engine interface {
	spawn(s childSpec) error
	// watch follows a process that somebody else started.
	watch(name string, pid int) error
	// signal never hits a process that took over a dead child's number.
	signal(name string, sig syscall.Signal) error
	events() <-chan childEvent
}

// managed is the engine made of ochinchina/supervisord: one Process object for
// each process life, started once and never asked to stop.
type managed struct {
	manager *process.Manager
	out     chan childEvent
	log     *slog.Logger

	mu    sync.Mutex // guards alive
	alive map[string]*child
}

type child struct {
	handle *handle
	ended  bool
}

// newEngine registers the engine with the event and log systems of the
// library, which are global: a process makes one engine. What children write
// to their standard output and error ends up in trace.
func newEngine(log *slog.Logger, trace io.Writer) (*managed, error) {
	e := &managed{
		manager: process.NewManager(), out: make(chan childEvent, 4096),
		log: log, alive: map[string]*child{},
	}
	// The library copies the output of a child to os.Stderr and closes the
	// child's pipe when that fails once: a full disk would kill workers. So it
	// is given a pipe of ours, which always takes what comes.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make the output pipe of the children: %w", err)
	}
	os.Stderr = w
	go forward(r, trace)

	logrus.AddHook(e)
	go e.listen(states.events, states.answers)
	return e, nil
}

// stateFeed is our end of the library's event listener protocol.
type stateFeed struct {
	events  io.Reader
	answers io.Writer
}

// states is subscribed while the package initialises: the library's ticker
// looks through the same map, which nothing locks, from two seconds later on.
var states = subscribe()

func subscribe() stateFeed {
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrus.InfoLevel)
	fromLibrary, toUs := io.Pipe()
	answers, toLibrary := io.Pipe()
	listener := events.NewEventListener("sluice", "supervisor", answers, toUs, 4096)
	events.RegisterEventListener("sluice", []string{"PROCESS_STATE"}, listener)
	// Making an event counts it atomically. That orders the registration before
	// every event that is made later.
	_ = events.NewRemoteCommunicationEvent("", "")
	return stateFeed{events: fromLibrary, answers: toLibrary}
}

// forward copies whole chunks and drops what the destination does not take in
// time, so that a child never waits for a reader of the appliance's log.
func forward(r io.Reader, w io.Writer) {
	chunks := make(chan []byte, 64)
	go func() {
		for b := range chunks {
			_, _ = w.Write(b)
		}
	}()
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		if err != nil {
			close(chunks)
			return
		}
		select {
		case chunks <- append([]byte(nil), buf[:n]...):
		default:
		}
	}
}

// Levels are those of the library's log lines that Fire wants to see.
func (e *managed) Levels() []logrus.Level { return logrus.AllLevels }

// Fire reads the library's log. Its exit statuses of short lives are told
// nowhere else (FATAL hides them), and no event is as early as this line.
func (e *managed) Fire(entry *logrus.Entry) error {
	const stopped = "program stopped"
	if strings.HasPrefix(entry.Message, stopped) {
		name, _ := entry.Data["program"].(string)
		_, state, _ := strings.Cut(entry.Message, "status:")
		e.end(name, parseStatus(state))
		return nil
	}
	if entry.Level <= logrus.WarnLevel {
		e.log.Debug("process engine", slog.String("text", entry.Message))
	}
	return nil
}

// parseStatus reads os.ProcessState's text: "exit status 78", "signal: killed".
func parseStatus(text string) int {
	if code, ok := strings.CutPrefix(text, "exit status "); ok {
		if n, err := strconv.Atoi(code); err == nil {
			return n
		}
	}
	if name, ok := strings.CutPrefix(text, "signal: "); ok {
		name = strings.TrimSuffix(name, " (core dumped)")
		for n := syscall.Signal(1); n < 65; n++ {
			if n.String() == name {
				return -int(n)
			}
		}
	}
	return exitUnknown
}

// listen speaks the event listener protocol with the library: READY, then for
// each event a header line with its length, the body, and our RESULT.
func (e *managed) listen(from io.Reader, to io.Writer) {
	r := bufio.NewReader(from)
	for {
		if _, err := io.WriteString(to, "READY\n"); err != nil {
			return
		}
		header, err := r.ReadString('\n')
		if err != nil {
			return
		}
		fields := tokens(header)
		n, err := strconv.Atoi(fields["len"])
		if err != nil || n < 0 {
			return
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		e.changed(fields["eventname"], tokens(string(body))["processname"])
		if _, err := io.WriteString(to, "RESULT 2\nOK"); err != nil {
			return
		}
	}
}

func tokens(line string) map[string]string {
	out := map[string]string{}
	for _, field := range strings.Fields(line) {
		if name, value, ok := strings.Cut(field, ":"); ok {
			out[name] = value
		}
	}
	return out
}

// changed acts on one state change. GetPid waits until the library's start of
// the process is through, so it is called beside the protocol.
func (e *managed) changed(event, name string) {
	switch event {
	case "PROCESS_STATE_STARTING":
		go e.started(name)
	case "PROCESS_STATE_EXITED", "PROCESS_STATE_FATAL":
		e.end(name, exitUnknown)
		e.manager.Remove(name)
	}
}

func (e *managed) started(name string) {
	p := e.manager.Find(name)
	if p == nil {
		return
	}
	pid := p.GetPid()
	if pid <= 0 {
		return
	}
	h, err := openHandle(pid)
	e.mu.Lock()
	c := e.alive[name]
	if c == nil || c.ended || err != nil {
		e.mu.Unlock()
		if h != nil {
			h.close()
		}
		return
	}
	c.handle = h
	e.mu.Unlock()
	e.out <- childEvent{name: name, pid: pid}
}

// end reports the end of a child, the first time that it is told.
func (e *managed) end(name string, status int) {
	e.mu.Lock()
	c := e.alive[name]
	if c == nil {
		e.mu.Unlock()
		return
	}
	c.ended = true
	delete(e.alive, name)
	if c.handle != nil {
		c.handle.close()
	}
	e.mu.Unlock()
	e.out <- childEvent{name: name, exited: true, status: status}
}

func (e *managed) events() <-chan childEvent { return e.out }

// spawn starts a process. Everything that can go wrong later comes as event.
func (e *managed) spawn(s childSpec) error {
	text, err := programText(s)
	if err != nil {
		return err
	}
	fd, err := memfd("program", []byte(text))
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(fd) }()
	c := config.NewConfig("/proc/self/fd/" + strconv.Itoa(fd))
	if _, err := c.Load(); err != nil {
		return fmt.Errorf("load program %s: %w", s.name, err)
	}
	entry := c.GetProgram(s.name)
	if entry == nil {
		return fmt.Errorf("load program %s: not understood by the process engine", s.name)
	}
	e.mu.Lock()
	e.alive[s.name] = &child{}
	e.mu.Unlock()
	e.manager.CreateProcess("supervisor", entry).Start(false)
	return nil
}

// programText is the ini section of one process life. startsecs is 1 because 0
// makes the library spin; every other setting switches its own policy off.
func programText(s childSpec) (string, error) {
	all := append(append([]string{s.name, s.path}, s.args...), s.env...)
	for _, text := range all {
		if !iniSafe(text) {
			return "", fmt.Errorf("start %s: %q holds a character that a program's path or setting must not have", s.name, text)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[program:%s]\ncommand=%s\n", s.name, strings.Join(append([]string{s.path}, s.args...), " "))
	if len(s.env) > 0 {
		fmt.Fprintf(&b, "environment=%s\n", strings.Join(s.env, ","))
	}
	b.WriteString("autostart=false\nautorestart=false\nstartsecs=1\nstartretries=1\nexitcodes=0\nstopsignal=TERM\n" +
		"stdout_logfile=/dev/stderr\nstderr_logfile=/dev/stderr\n")
	return b.String(), nil
}

// iniSafe reports whether a text survives the library's ini parser, its
// %-expressions and its command line unchanged.
func iniSafe(text string) bool {
	return text != "" && !strings.ContainsAny(text, " \t\r\n\"'%\\;#,\x00") && !strings.HasSuffix(text, "=")
}

// watch follows a process by its descriptor until it has ended.
func (e *managed) watch(name string, pid int) error {
	h, err := openHandle(pid)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.alive[name] = &child{handle: h}
	e.mu.Unlock()
	go func() {
		h.wait()
		e.end(name, exitUnknown)
	}()
	return nil
}

func (e *managed) signal(name string, sig syscall.Signal) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.alive[name]
	if c == nil || c.handle == nil {
		return fmt.Errorf("signal %s: %w", name, unix.ESRCH)
	}
	return c.handle.signal(sig)
}
