// Package boot starts and ends a program: its arguments and environment, its
// exit code, its log. It is the only place that ends the process.
package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"

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
// ExitError, 64 for arguments that kong refused, else 1. The error is printed
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
	var usage *kong.ParseError
	switch {
	case errors.As(err, &exit):
		code = exit.Code
		if exit.Err == nil {
			return code
		}
	case errors.As(err, &usage):
		code = exitUsage
	}
	line := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
	_, _ = fmt.Fprintf(p.Stderr, "%s: %s\n", p.Program, line)
	return code
}

// stopped is what leaves kong when --help or --version has been answered.
type stopped struct{}

// Parse reads the arguments into cli, a pointer to a struct with kong tags, and
// adds --help and --version. done means that one of these was asked for and has
// been answered: the program ends without error. An error is one of usage and
// ends the program with 64. The value of a flag with the tag secret is taken out
// of the process listing.
func (p *Process) Parse(cli any, description string, options ...kong.Option) (ctx *kong.Context, done bool, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case stopped:
			ctx, done, err = nil, true, nil
		default:
			panic(r)
		}
	}()
	var version struct {
		Version kong.VersionFlag `help:"Print the version and exit."`
	}
	all := append([]kong.Option{
		kong.Name(p.Program), kong.Description(description),
		kong.Writers(p.Stdout, p.Stderr),
		kong.Vars{"version": p.Program + " " + Version},
		kong.Exit(func(int) { panic(stopped{}) }),
		kong.Embed(&version),
	}, options...)
	parser, err := kong.New(cli, all...)
	if err != nil {
		return nil, false, fmt.Errorf("describe the arguments: %w", err)
	}
	p.hide(secretFlags(parser.Model.Node, p.Args))
	ctx, err = parser.Parse(p.Args)
	if err != nil {
		return nil, false, &ExitError{Code: exitUsage, Err: err}
	}
	return ctx, false, nil
}
