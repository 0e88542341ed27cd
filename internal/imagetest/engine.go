//go:build image

package imagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// docker is the client that fits the engine: the first one on the PATH may be
// another, without one.
const docker = "/usr/bin/docker"

// Gateway is the address at which containers reach the tests; from them, a
// container is reached at its own address ([Container.IP]).
const Gateway = "198.51.100.1"

// engine is the Docker engine of this run.
var engine struct {
	once sync.Once
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error
}

func engineDir() string    { return filepath.Join(RunDir(), "docker") }
func engineSocket() string { return "unix://" + filepath.Join(engineDir(), "sock") }

// Engine starts the run's Docker engine, once, and returns the address of its
// socket, for programs that read DOCKER_HOST.
func Engine(t testing.TB) string {
	t.Helper()
	engine.once.Do(func() { engine.err = startEngine() })
	if engine.err != nil {
		t.Fatalf("Docker engine: %v", engine.err)
	}
	return engineSocket()
}

func startEngine() error {
	path, err := exec.LookPath("dockerd")
	if err != nil {
		return fmt.Errorf("%w: apt-get install docker.io, or .ci/needs image", err)
	}
	dir := engineDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	config := filepath.Join(dir, "daemon.json") // not the machine's
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	// A process of its own group: a Ctrl-C that ends the tests lets them end it.
	cmd := exec.CommandContext(context.Background(), path,
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "-H", engineSocket(), "--config-file", config,
		"--bip", Gateway+"/24", "--default-address-pool", "base=198.18.0.0/16,size=24",
		"--cgroup-parent", "/"+filepath.Base(RunDir()))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	engine.cmd, engine.done = cmd, make(chan struct{})
	go func() { // ends with the engine
		_ = cmd.Wait()
		close(engine.done)
	}()
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		select {
		case <-engine.done:
			return fmt.Errorf("it ended at once:\n%s", engineLog())
		default:
		}
		if exec.CommandContext(context.Background(), docker, "-H", engineSocket(), "info").Run() == nil {
			return nil
		}
	}
	return fmt.Errorf("it does not answer after 40 s:\n%s", engineLog())
}

func engineLog() string {
	text, _ := os.ReadFile(filepath.Join(engineDir(), "log"))
	return tail(string(text), 3000)
}

// endEngine removes every container, then ends the engine, so that its mounts
// and control groups are gone. Nothing happens where none was started.
func endEngine() error {
	if engine.cmd == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if ids, err := exec.CommandContext(ctx, docker, "-H", engineSocket(), "ps", "-aq").Output(); err == nil {
		if list := strings.Fields(string(ids)); len(list) > 0 {
			_ = exec.CommandContext(ctx, docker, append([]string{"-H", engineSocket(), "rm", "-f", "-v"}, list...)...).Run()
		}
	}
	_ = engine.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-engine.done:
		return nil
	case <-ctx.Done():
		_ = engine.cmd.Process.Kill()
		return errors.New("the Docker engine did not end when asked and was killed")
	}
}

// Docker runs the Docker client against the run's engine; it must succeed.
func Docker(t testing.TB, args ...string) string {
	t.Helper()
	return DockerCommand(t, args...).Run(t)
}

// DockerCommand is a call of the Docker client, to be run or tried.
func DockerCommand(t testing.TB, args ...string) Command {
	t.Helper()
	return Command{Args: append([]string{docker, "-H", Engine(t)}, args...)}
}

// LoadImage loads a tar into the engine and returns the name that it has there.
func LoadImage(t testing.TB, tar string) string {
	t.Helper()
	out := Docker(t, "load", "-q", "-i", tar)
	_, name, ok := strings.Cut(out, "Loaded image: ")
	if !ok {
		t.Fatalf("docker load said: %s", out)
	}
	return strings.TrimSpace(name)
}

// Container is a running container. It is removed when its test ends; if that
// failed, its log is printed first.
type Container struct {
	ID string
	t  testing.TB
}

// StartContainer is docker run -d with further arguments: options, image,
// command. Nothing is ever pulled.
func StartContainer(t testing.TB, args ...string) *Container {
	t.Helper()
	c := &Container{t: t, ID: Docker(t, append([]string{"run", "-d", "--pull", "never"}, args...)...)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the container:\n%s", tail(c.Logs(), 8000))
		}
		DockerCommand(t, "rm", "-f", "-v", c.ID).Try(t)
	})
	return c
}

// Logs is all that the container wrote to both outputs.
func (c *Container) Logs() string {
	c.t.Helper()
	return DockerCommand(c.t, "logs", c.ID).Try(c.t).Output()
}

// State is what the engine says of a container's process.
type State struct {
	Running   bool
	ExitCode  int
	OOMKilled bool
	Pid       int
	Health    *struct{ Status string }
}

// State asks the engine.
func (c *Container) State() State {
	c.t.Helper()
	var s State
	if err := json.Unmarshal([]byte(Docker(c.t, "inspect", "-f", "{{json .State}}", c.ID)), &s); err != nil {
		c.t.Fatal(err)
	}
	return s
}

// IP is the container's address in the first of its networks.
func (c *Container) IP() string {
	c.t.Helper()
	all := strings.Fields(Docker(c.t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", c.ID))
	if len(all) == 0 {
		c.t.Fatalf("container %.12s has no address\n%s", c.ID, tail(c.Logs(), 4000))
	}
	return all[0]
}

// Exec runs a program in the container; it must succeed.
func (c *Container) Exec(args ...string) string {
	c.t.Helper()
	return Docker(c.t, append([]string{"exec", c.ID}, args...)...)
}

// WaitExit waits for the container's end and returns its exit code.
func (c *Container) WaitExit(within time.Duration) int {
	c.t.Helper()
	Wait(c.t, "end of the container", within, func() error {
		if c.State().Running {
			return errors.New("it still runs")
		}
		return nil
	})
	return c.State().ExitCode
}
