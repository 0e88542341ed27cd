package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says what a problem means for the start.
type Severity uint8

// The severities.
const (
	Note    Severity = iota // nothing to do: a key that has no effect in this release
	Warning                 // served all the same, and probably not what was meant
	Error                   // not served
)

// String returns the name in small letters.
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	default:
		return "error"
	}
}

// Pos is where a value stands. Line 0 means the file as a whole, or a variable
// or flag, whose name then stands for the file.
type Pos struct {
	File string
	Line int
}

// String returns "file:line".
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Problem is one thing that is wrong with a configuration. No field of it holds
// a secret.
type Problem struct {
	At       Pos
	Severity Severity
	Key      string // path of the key, as in "general_settings.master_key"
	Text     string // what is wrong
	Allowed  string // what is allowed; "" where Text says it all
}

// String returns the problem in one line.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.At.String())
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.Text)
	if p.Allowed != "" {
		b.WriteString("; allowed: " + p.Allowed)
	}
	return b.String()
}

// Problems lists what is wrong, sorted by file and line, those of the main file
// first.
type Problems []Problem

// Failed reports whether any of them keeps the configuration from being served.
func (ps Problems) Failed() bool { return len(ps.Of(Error)) > 0 }

// Of returns those of one severity.
func (ps Problems) Of(s Severity) Problems {
	var out Problems
	for _, p := range ps {
		if p.Severity == s {
			out = append(out, p)
		}
	}
	return out
}

// String returns errors and warnings, one a line with its severity. Notes are
// left out; see Of.
func (ps Problems) String() string {
	var b strings.Builder
	for _, p := range ps {
		if p.Severity != Note {
			fmt.Fprintf(&b, "%s: %s\n", p.Severity, p)
		}
	}
	return b.String()
}

// Err returns all errors as one, in several lines, or nil.
func (ps Problems) Err() error {
	failed := ps.Of(Error)
	if len(failed) == 0 {
		return nil
	}
	return failedError(failed)
}

// failedError is a list of problems that are errors.
type failedError Problems

func (e failedError) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds a listing; a file that is no configuration at all would
// otherwise give one of each line.
const maxProblems = 1000

// report collects problems while a configuration is read.
type report struct {
	list   Problems
	strict bool
	order  map[string]int // of files, as they were read
	seen   map[Problem]bool
}

func newReport(strict bool) *report {
	return &report{strict: strict, order: map[string]int{}, seen: map[Problem]bool{}}
}

// file notes that a file is read now: problems are listed in this order.
func (r *report) file(name string) {
	if _, ok := r.order[name]; !ok {
		r.order[name] = len(r.order)
	}
}

func (r *report) add(s Severity, at Pos, key, text, allowed string) {
	p := Problem{At: at, Severity: s, Key: key, Text: text, Allowed: allowed}
	if len(r.list) < maxProblems && !r.seen[p] {
		r.seen[p] = true
		r.list = append(r.list, p)
	}
}

func (r *report) errorf(at Pos, key, allowed, format string, args ...any) {
	r.add(Error, at, key, fmt.Sprintf(format, args...), allowed)
}

func (r *report) warnf(at Pos, key, format string, args ...any) {
	r.add(Warning, at, key, fmt.Sprintf(format, args...), "")
}

// unknown reports a key that no table has: a warning, an error when strict.
func (r *report) unknown(at Pos, path, name string, known []string) {
	severity, text := Warning, "unknown key "+quote(name)
	if r.strict {
		severity = Error
	}
	if near := nearest(name, known); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	r.add(severity, at, join(path, name), text, "")
}

// sorted returns the problems by file, line and key.
func (r *report) sorted() Problems {
	slices.SortStableFunc(r.list, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(r.rank(a.At.File), r.rank(b.At.File)),
			cmp.Compare(a.At.File, b.At.File),
			cmp.Compare(a.At.Line, b.At.Line),
			cmp.Compare(b.Severity, a.Severity),
			cmp.Compare(a.Key, b.Key),
		)
	})
	return r.list
}

func (r *report) rank(file string) int {
	if n, ok := r.order[file]; ok {
		return n
	}
	return len(r.order)
}

// join appends a name to the path of a key.
func join(path, name string) string {
	if len(name) > 64 {
		name = name[:64] + "…"
	}
	name = strings.ToValidUTF8(name, "\ufffd")
	if path == "" {
		return name
	}
	return path + "." + name
}

func quote(text string) string {
	if len(text) > 64 {
		text = text[:64] + "…"
	}
	return fmt.Sprintf("%q", strings.ToValidUTF8(text, "\ufffd"))
}
