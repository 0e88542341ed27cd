// Package boot starts and ends a program: its arguments and environment, its
// exit code, its log. It is the only place that ends the process.
package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"sluice/internal/env"
)

// Exit codes that this package itself decides on; package fleet has them all.
const (
	exitFailed = 1
	exitUsage  = 64
	exitConfig = 78
)

// Version is the release, set by the linker:
// -ldflags "-X sluice/internal/boot.Version=1.2.3".
var Version = "dev"

// Process is what a program gets from the operating system.
type Process struct {
	Program string // its name, as in "proxy"
	Args    []string
	Public  []string // those that are no secrets; set by Parse
	Environ *env.Environ
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
}

// ExitError ends the program with a code. Err may be nil: then nothing is
// printed, because everything has been said.
type ExitError struct {
	Code int
	Err  error
}

// Error returns the text of Err, or the code.
func (e *ExitError) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Unwrap returns Err.
func (e *ExitError) Unwrap() error { return e.Err }

// Exit wraps an error with the exit code that it means. A nil error stays one
// that ends the program with the code, in silence.
func Exit(code int, err error) error { return &ExitError{Code: code, Err: err} }

// Main runs a program and ends the process: 0 for no error, the code of an
// ExitError, 64 for arguments that Parse refused, else 1. The error is printed
// in one line on standard error. The process leaves no core, and cannot be
// traced, unless SLUICE_ALLOW_CORE_DUMPS is true.
func Main(program string, run func(p *Process) error) {
	p := &Process{
		Program: program, Args: arguments(), Environ: env.Process(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	err := errors.Join(p.Environ.Err(), seclude(p.Environ))
	if err != nil {
		err = Exit(exitConfig, err)
	} else {
		err = run(p)
	}
	os.Exit(Report(p, err)) //nolint:revive // the one place that ends the process, as the programs' main does nothing but call it
}

// Report prints an error as Main does and returns the exit code that it means.
// Tests call it in place of Main.
func Report(p *Process, err error) int {
	if err == nil {
		return 0
	}
	code := exitFailed
	var exit *ExitError
	if errors.As(err, &exit) {
		code = exit.Code
		if exit.Err == nil {
			return code
		}
	}
	line := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
	_, _ = fmt.Fprintf(p.Stderr, "%s: %s\n", p.Program, line)
	return code
}

// Parse reads the arguments into cli, a pointer to a struct, and adds --help and
// --version. done means that one of these was asked for and has been answered:
// the program ends without error. An error is one of usage and ends the program
// with 64.
//
// Each field is a flag: a string, bool, int, float64, time.Duration, a pointer to
// one of these (not to a bool) that is nil where it was not given, or a []string
// that grows with each time that it is given. An embedded struct adds its fields;
// a struct with the tag cmd is a command. Tags:
//
//	name         of the flag or command; else the field's, with hyphens
//	short        one letter
//	help         a sentence
//	placeholder  what the value is, in the help
//	default      the value where none is given; of a command: it is meant where
//	             none is named, and with "withargs" its flags may then be given
//	enum         the values that are allowed, with commas between
//	required     must be given
//	hidden       is not in the help
//	arg          an argument without a name; optional: need not be given
//	secret       the value is taken out of the process listing; the tag says
//	             what to do instead, as in "set DATABASE_URL_FILE"
func (p *Process) Parse(cli any, description string) (chosen *Command, done bool, err error) {
	root := &command{name: p.Program}
	if err := root.describe(reflect.ValueOf(cli).Elem()); err != nil {
		return nil, false, fmt.Errorf("describe the arguments: %w", err)
	}
	p.hide(secretFlags(root, p.Args))
	at, err := parse(root, p.Args)
	switch {
	case errors.Is(err, errHelp):
		return nil, true, at.writeHelp(p.Stdout, description)
	case errors.Is(err, errVersion):
		_, err := fmt.Fprintf(p.Stdout, "%s %s\n", p.Program, Version)
		return nil, true, err
	case err != nil:
		return nil, false, &ExitError{Code: exitUsage, Err: err}
	}
	return &Command{chosen: at}, false, nil
}
