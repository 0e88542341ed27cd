// Package env is the only reader of the process environment. An Environ is an
// immutable set of variables: those of the process, those of a sealed memory
// file that carries the secrets, or those that a test made up.
package env

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// descriptorName names the variable that says on which descriptor a sealed
// environment waits; package fleet has it as EnvEnvironFD.
const descriptorName = "SLUICE_ENVIRON_FD"

// maxSealed bounds what is read from the descriptor.
const maxSealed = 8 << 20

// Environ is an immutable environment. The zero value and nil are empty. It is
// safe for use by several goroutines.
type Environ struct {
	vars map[string]string
	err  error
}

// sealed reads the descriptor once: it is closed then.
var sealed = sync.OnceValues(func() ([]byte, error) {
	text := os.Getenv(descriptorName)
	if text == "" {
		return nil, nil
	}
	fd, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("read the environment from %s=%s: not a descriptor number", descriptorName, text)
	}
	file := os.NewFile(uintptr(fd), "environ")
	defer func() { _ = file.Close() }()
	_, _ = file.Seek(0, io.SeekStart) // a pipe cannot seek and need not
	data, err := io.ReadAll(io.LimitReader(file, maxSealed))
	if err != nil {
		return nil, fmt.Errorf("read the environment from descriptor %d: %w", fd, err)
	}
	return data, nil
})

// Process returns the environment of this process. Where SLUICE_ENVIRON_FD is
// set, the variables on that descriptor are merged over it; the descriptor is
// read and closed by the first call. See Err for a descriptor that could not
// be read.
func Process() *Environ {
	e := parse(os.Environ())
	data, err := sealed()
	e.err = err
	maps.Copy(e.vars, Parse(data).vars)
	delete(e.vars, descriptorName)
	return e
}

// Parse reads NAME=VALUE entries that end in NUL bytes, as Bytes writes them
// and as /proc/self/environ has them. Entries without "=" are passed over; the
// last one of a name counts. It keeps nothing of its argument.
func Parse(nul []byte) *Environ {
	var lines []string
	for entry := range bytes.SplitSeq(nul, []byte{0}) {
		lines = append(lines, string(entry))
	}
	return parse(lines)
}

func parse(lines []string) *Environ {
	e := &Environ{vars: make(map[string]string, len(lines))}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, "=")
		if ok && name != "" {
			e.vars[name] = value
		}
	}
	return e
}

// Err says why the sealed environment could not be read, or is nil. A program
// that needs secrets must not start then.
func (e *Environ) Err() error {
	if e == nil {
		return nil
	}
	return e.err
}

// Bytes returns the environment with a NUL byte after each entry, sorted by
// name. It holds secrets.
func (e *Environ) Bytes() []byte {
	var out []byte
	for _, name := range e.Names() {
		out = append(out, name...)
		out = append(out, '=')
		out = append(out, e.vars[name]...)
		out = append(out, 0)
	}
	return out
}

// Names returns the names of all variables, sorted.
func (e *Environ) Names() []string {
	if e == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(e.vars))
}

// Lookup returns a variable and whether it is set, be it to the empty text.
func (e *Environ) Lookup(name string) (string, bool) {
	if e == nil {
		return "", false
	}
	value, ok := e.vars[name]
	return value, ok
}

// Get returns a variable, "" where it is not set.
func (e *Environ) Get(name string) string {
	value, _ := e.Lookup(name)
	return value
}

// With returns a copy in which the given variables are set.
func (e *Environ) With(vars map[string]string) *Environ {
	out := &Environ{vars: make(map[string]string, len(vars)), err: e.Err()}
	if e != nil {
		maps.Copy(out.vars, e.vars)
	}
	maps.Copy(out.vars, vars)
	return out
}
