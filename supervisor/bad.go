//go:build sluicebad

package main

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Known-bad releases that an upgrade must come back from, named by
// SLUICE_TEST_BAD: no-start ends at once, never-ready lets no worker begin,
// dies is killed half a minute after its start.

func bad(name string) bool { return os.Getenv("SLUICE_TEST_BAD") == name } //nolint:forbidigo // test builds only

// badStart is a release that does not start.
func badStart() bool {
	if bad("dies") {
		time.AfterFunc(30*time.Second, func() { _ = unix.Kill(os.Getpid(), unix.SIGKILL) })
	}
	return bad("no-start")
}

// neverReady is a release whose workers never get to serve.
func neverReady() bool { return bad("never-ready") }
