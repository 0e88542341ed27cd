//go:build image

package imagetest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A run is three processes of this program. The first makes the namespaces and
// clears up behind them; the second is the first process in them, which reaps,
// and whose end is the end of everything in them; the third runs the tests.
const (
	envStage   = "SLUICE_IMAGETEST_STAGE"
	stageInit  = "init"
	stageTests = "tests"
)

func TestMain(m *testing.M) {
	flag.Parse()
	var code int
	var err error
	switch os.Getenv(envStage) {
	case stageTests:
		code = m.Run()
		if err := endEngine(); err != nil {
			fmt.Fprintf(os.Stderr, "imagetest: %v\n", err)
			code = max(code, 1)
		}
	case stageInit:
		code, err = firstProcess()
	default:
		code, err = outermost()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "imagetest: %v\n", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// outermost makes the namespaces and waits for what runs in them.
func outermost() (int, error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("these tests make namespaces and run a Docker engine: run them as root")
	}
	signal.Ignore(syscall.SIGPIPE) // who reads our output may be killed before us; this must clear up all the same
	dir, err := os.MkdirTemp("", "sluice-image")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	defer removeGroups(filepath.Base(dir))
	network, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return 1, err
	}
	defer network.Close()
	runtime.LockOSThread() // the parent-death signal is the thread's
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), envStage+"="+stageInit, envDir+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{network} // outsideFD there
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	return pass(cmd)
}

// firstProcess is process 1 of the namespaces: it makes them fit to live in,
// starts the tests and reaps whoever is orphaned until they end.
func firstProcess() (int, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 1, fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return 1, fmt.Errorf("mount /proc: %w", err)
	}
	// "ip netns" keeps its names here; of the machine's none may be seen or touched.
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return 1, err
	}
	if err := unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, "mode=755"); err != nil {
		return 1, fmt.Errorf("mount /run/netns: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return 1, err
	}
	if err := os.Setenv(envStage, stageTests); err != nil {
		return 1, err
	}
	attr := &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, os.NewFile(outsideFD, "outside")},
	}
	tests, err := os.StartProcess("/proc/self/exe", os.Args, attr)
	if err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	go func() { // ends with the process
		for s := range signals {
			_ = tests.Signal(s)
		}
	}()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 1, fmt.Errorf("wait for the tests: %w", err)
		}
		if pid != tests.Pid {
			continue
		}
		if status.Signaled() {
			return 1, fmt.Errorf("the tests were ended by signal %v", status.Signal())
		}
		return status.ExitStatus(), nil
	}
}

// pass runs a command, hands signals on to it and returns its exit code.
func pass(cmd *exec.Cmd) (int, error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start in namespaces of their own: %w", err)
	}
	done := make(chan struct{})
	go func() { // ends with the command
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s)
			case <-done:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(done)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring up the loopback: %w", err)
	}
	return nil
}

// removeGroups removes the control groups that the run's engine has made: they
// are the one thing that no namespace takes with it.
func removeGroups(name string) {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	for _, root := range append(roots, "/sys/fs/cgroup/"+name) {
		var dirs []string
		_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			if strings.HasPrefix(dirs[i], root) {
				_ = unix.Rmdir(dirs[i])
			}
		}
	}
}
