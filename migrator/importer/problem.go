package importer

import (
	"context"
	"errors"
	"fmt"

	"sluice/internal/postgres"
	"sluice/proxy/store"
)

// Class is what an error means to whoever started the import.
type Class int

// Classes of errors.
const (
	Failed   Class = iota // something unforeseen
	TryAgain              // busy, away or stopped: the same command goes on
	Config                // trying again does not help before a human has acted
)

// problem is an error whose class is known. Its text is one line that says
// which thing, what was wrong and what to do.
type problem struct {
	class Class
	err   error
}

func (p *problem) Error() string { return p.err.Error() }
func (p *problem) Unwrap() error { return p.err }

func refuse(format string, args ...any) error {
	return &problem{class: Config, err: fmt.Errorf(format, args...)}
}

func tryAgain(format string, args ...any) error {
	return &problem{class: TryAgain, err: fmt.Errorf(format, args...)}
}

// ClassOf says what an error of this package means.
func ClassOf(err error) Class {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p.class
	case store.Away(err), errors.Is(err, context.Canceled):
		return TryAgain
	}
	return Failed
}

// classify gives an error of the source's connection its class and says what
// can be done.
func classify(what string, err error) error {
	var p *problem
	if err == nil || errors.As(err, &p) {
		return err
	}
	kind := postgres.Classify(err)
	class := Failed
	switch {
	case kind.Temporary():
		class = TryAgain
	case kind == postgres.Permission:
		return &problem{class: Config, err: fmt.Errorf("%s: %s: %w: grant the role SELECT on LiteLLM's tables", what, kind, err)}
	case kind != postgres.Other:
		class = Config
	}
	if advice := kind.Advice(); advice != "" {
		return &problem{class: class, err: fmt.Errorf("%s: %s: %w: %s", what, kind, err, advice)}
	}
	return &problem{class: class, err: fmt.Errorf("%s: %w", what, err)}
}

// lost is the error of a caller who was told to stop.
func lost(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("stopped: %w", ctx.Err())
}
