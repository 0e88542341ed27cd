package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// preflight asks the proxy's binary what it makes of the configuration before
// anything is bound: every mistake is said once, and what the file and .env say
// of the port, the database and the workers comes back as an environment. The
// workers and a reload start from the original one, because they read the file
// themselves.
func preflight(stderr io.Writer, environ *env.Environ) (*env.Environ, error) {
	self, err := ownPath()
	if err != nil {
		return nil, err
	}
	path, err := beside(self, "proxy")
	if err != nil {
		return nil, err
	}
	fd, err := memfd("environ", environ.Bytes())
	if err != nil {
		return nil, err
	}
	secrets := os.NewFile(uintptr(fd), "environ")
	defer func() { _ = secrets.Close() }()
	var out bytes.Buffer
	cmd := exec.Command(path, "preflight") //nolint:noctx // it reads files and ends
	cmd.ExtraFiles = []*os.File{secrets}
	cmd.Env = append(environ.Scrubbed(), fleet.EnvEnvironFD+"=3")
	cmd.Stdout, cmd.Stderr = &out, stderr
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return nil, boot.Exit(exit.ExitCode(), nil) // it has said why
	case err != nil:
		return nil, fmt.Errorf("check the configuration: %w", err)
	}
	return env.Parse(out.Bytes()), nil
}
