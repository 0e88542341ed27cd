//go:build image

package imagetest

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
)

const (
	// envDir names the folder of this run: it is removed when the run ends.
	envDir = "SLUICE_IMAGETEST_DIR"
	// outsideFD is the descriptor of the machine's own network namespace.
	outsideFD = 3
)

var full = flag.Bool("full", false, "full lengths and counts instead of those of CI")

// Full tells whether the full form was asked for (ARGS=-full).
func Full() bool { return *full }

// Length is what a test lasts, or how often it does something: ci normally,
// soak with -full.
func Length[T int | time.Duration](ci, soak T) T {
	if *full {
		return soak
	}
	return ci
}

// Root is the folder of the repository.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Dist is the path of what a build script has left in dist.
func Dist(t testing.TB, name string) string { return filepath.Join(Root(t), "dist", name) }

// RunDir is the folder of this run, on a disk; it is removed when the run ends.
func RunDir() string { return os.Getenv(envDir) }

// Command is a program to run to its end.
type Command struct {
	Args    []string
	Dir     string   // "" is the package's
	Env     []string // added to the environment of the tests
	Stdin   string
	Outside bool          // in the machine's own network: for what fetches packages or modules
	Within  time.Duration // 0 is two minutes; then it is killed with its children
}

// Result is what a command has left.
type Result struct {
	Stdout string
	Stderr string
	Code   int // -1 when a signal ended it
	Took   time.Duration
}

// Output is all that the command said, without spaces around it.
func (r Result) Output() string { return strings.TrimSpace(r.Stdout + r.Stderr) }

// outside is the machine's own network. There is one value: the descriptor is
// closed with the last one that nobody uses any more.
var outside = sync.OnceValue(func() *os.File { return os.NewFile(outsideFD, "outside") })

// Run runs a command that must succeed and returns what it wrote to its
// standard output, without the last line break.
func Run(t testing.TB, args ...string) string {
	t.Helper()
	return Command{Args: args}.Run(t)
}

// Run is [Run] for a command with more to say.
func (c Command) Run(t testing.TB) string {
	t.Helper()
	r := c.Try(t)
	if r.Code != 0 {
		t.Fatalf("%s: exit %d after %v\n%s", strings.Join(c.Args, " "), r.Code, r.Took.Round(time.Millisecond), tail(r.Output(), 6000))
	}
	return strings.TrimSuffix(r.Stdout, "\n")
}

// Try runs a command that may fail. That it cannot be started, or does not end
// in time, fails the test.
func (c Command) Try(t testing.TB) Result {
	t.Helper()
	if c.Within == 0 {
		c.Within = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Within)
	defer cancel()
	args := c.Args
	if c.Outside {
		args = append([]string{"nsenter", "--net=/proc/self/fd/" + strconv.Itoa(outsideFD), "--"}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = c.Dir, append(os.Environ(), c.Env...)
	if c.Outside {
		cmd.ExtraFiles = []*os.File{outside()}
	}
	if c.Stdin != "" {
		cmd.Stdin = strings.NewReader(c.Stdin)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	began := time.Now()
	err := cmd.Run()
	r := Result{Stdout: stdout.String(), Stderr: stderr.String(), Took: time.Since(began)}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		t.Fatalf("%s: not done in %v\n%s", strings.Join(c.Args, " "), c.Within, tail(r.Output(), 6000))
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // a child kept the output open
		t.Fatalf("%s: %v", strings.Join(c.Args, " "), err)
	}
	return r
}

// Wait asks until cond has nothing more to complain about; the last complaint
// fails the test.
func Wait(t testing.TB, what string, within time.Duration, cond func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// FreePort is a port of the run's own network that nothing listens on.
func FreePort(t testing.TB) int {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Provider runs a fake provider that containers reach at ProviderURL. A ledger
// keeps what it has served.
func Provider(t testing.TB) *fakeprovider.Provider {
	t.Helper()
	p, err := fakeprovider.New(fakeprovider.Config{Addr: "0.0.0.0:0", Ledger: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// ProviderURL is the base URL of a script of p ("" is the good provider), for a
// client that reaches the tests at host.
func ProviderURL(p *fakeprovider.Provider, host, script string) string {
	base := "http://" + net.JoinHostPort(host, strconv.Itoa(p.Addr().(*net.TCPAddr).Port))
	if script != "" {
		base += "/" + script
	}
	return base + "/v1"
}

// tail is the end of a long text.
func tail(text string, most int) string {
	if len(text) > most {
		return fmt.Sprintf("(%d bytes more)…%s", len(text)-most, text[len(text)-most:])
	}
	return text
}
