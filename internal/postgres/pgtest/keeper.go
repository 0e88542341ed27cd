package pgtest

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// keeperScript ends a cluster, also one that stands still, and removes it.
const keeperScript = `cat >/dev/null
pid=$(head -n1 "$1/data/postmaster.pid" 2>/dev/null)
if [ -n "$pid" ]; then
	kill -CONT $pid $(cat /proc/$pid/task/$pid/children) 2>/dev/null
	kill -QUIT $pid 2>/dev/null
	for i in $(seq 200); do grep -q "^State:.[^Z]" /proc/$pid/status 2>/dev/null || break; sleep 0.05; done
fi
rm -rf "$1"`

// keep starts the keeper of a cluster: a shell that outlives this process. It
// waits for the end of a pipe that only this process holds open, then ends and
// removes the cluster, so that a test that was killed leaves no server behind.
func keep(dir string) (io.Closer, error) {
	c := exec.CommandContext(context.Background(), "/bin/sh", "-c", keeperScript, "sh", dir)
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start the keeper of the cluster: %w", err)
	}
	go func() { _ = c.Wait() }() // ends with the pipe
	return pipe, nil
}
