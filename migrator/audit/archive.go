package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"sluice/proxy/chain"
	"sluice/proxy/store"
)

// ErrTampered refuses to move a record that does not verify.
var ErrTampered = errors.New("the record does not verify")

// errStop ends the reading of the record.
var errStop = errors.New("this row stays")

// Archive moves the rows of the record that are older than a time to a file,
// from the first one up to the first that is not older, or has no code yet. The
// newest row stays. The whole record is verified first; then the rows are
// written, synced and read back, and only then the database notes the stretch,
// and removes its rows.
//
// Under the name of the file there is never a part of an archive. Where a whole
// one is there, because an earlier run was killed, its rows are what is moved.
// Archive returns one line about what was done.
func Archive(ctx context.Context, o Options, before time.Time, path string) (string, error) {
	v, err := Verify(ctx, Options{Store: o.Store, Ring: o.Ring, Anchors: o.Anchors, Log: o.Log})
	switch {
	case err != nil:
		return "", err
	case v.Found > 0:
		return "", fmt.Errorf("%w, and nothing was moved: %d findings, the first is %s", ErrTampered, v.Found, v.Findings[0])
	case len(v.UnknownKeys) > 0:
		return "", wrong("nothing was moved: %d rows cannot be verified, under %s: give the keyring of the gateway", v.Unverified(), Keys(v.UnknownKeys))
	}
	if _, err := o.Store.Archived(ctx); err != nil { // what a killed run has left
		return "", err
	}
	stretches, err := o.Store.Stretches(ctx)
	if err != nil {
		return "", err
	}
	m := &move{o: o, path: path}
	if m.keys, err = o.keys(ctx); err != nil {
		return "", err
	}
	for i := range stretches {
		m.after, m.mac = stretches[i].Last, stretches[i].LastMAC
	}
	there, err := exists(path)
	if err != nil {
		return "", wrong("%s", err)
	}
	if !there {
		if written, err := m.write(ctx, before); err != nil || !written {
			return "nothing was moved: no row is older than " + before.UTC().Format(time.RFC3339), err
		}
	}
	s, err := m.readBack(path)
	if err != nil {
		return "", err
	}
	for i := range stretches {
		if stretches[i].First == s.First && string(stretches[i].Digest) == string(s.Digest) {
			return fmt.Sprintf("rows %d to %d were moved to %s before; nothing was left to do", s.First, s.Last, path), nil
		}
	}
	if s.First != m.after+1 {
		return "", wrong("%s is there already and holds rows %d to %d, which are not the next ones: choose another name", path, s.First, s.Last)
	}
	if err := o.Store.Archive(ctx, *s); err != nil {
		return "", fmt.Errorf("%s is whole, run the same command again: %w", path, err)
	}
	return fmt.Sprintf("moved %s, %d to %d, to %s (sha256 %x)", count(s.Last-s.First+1), s.First, s.Last, path, s.Digest), nil
}

// move is one archive while it is made.
type move struct {
	o     Options
	path  string
	keys  func(id string) ([32]byte, bool)
	after int64  // number of the last row that was moved before
	mac   []byte // its code
}

// write makes the file. It is false where no row is to be moved.
func (m *move) write(ctx context.Context, before time.Time) (bool, error) {
	newest, err := m.o.Store.ChainHead(ctx)
	if err != nil {
		return false, err
	}
	var w *writer
	defer func() {
		if w != nil {
			w.abandon()
		}
	}()
	err = m.o.Store.Record(ctx, m.after, func(r chain.Row) error {
		if !r.At.Before(before) || r.Number >= newest.Number || r.Number > newest.Chained {
			return errStop
		}
		if w == nil {
			var err error
			if w, err = create(m.path, head{First: r.Number, Previous: m.mac}); err != nil {
				return err
			}
		}
		return w.add(&r)
	})
	switch {
	case errors.Is(err, errWriting):
		return false, fmt.Errorf("%w: %w", ErrBusy, err)
	case err != nil && !errors.Is(err, errStop):
		return false, err
	case w == nil:
		return false, nil
	}
	if err := w.finish(); err != nil {
		return false, err
	}
	if _, err := m.readBack(partial(m.path)); err != nil {
		return false, err
	}
	err = w.publish()
	w = nil
	if errors.Is(err, fs.ErrExist) {
		return false, wrong("%s is there already: run the command again", m.path)
	}
	return err == nil, err
}

// readBack verifies an archive as it lies on the disk, and returns what the
// database is to know of it.
func (m *move) readBack(path string) (*store.Stretch, error) {
	a, err := open(path)
	if err != nil {
		return nil, wrong("%s", err)
	}
	defer a.close()
	check := chain.NewVerifier(m.keys)
	check.After(a.head.First-1, a.head.Previous)
	for {
		r, err := a.next()
		if errors.Is(err, io.EOF) {
			break
		}
		var d *damage
		if errors.As(err, &d) {
			return nil, fmt.Errorf("%w: %w", ErrTampered, err)
		}
		if err == nil {
			err = check.Add(*r)
		}
		if err != nil {
			return nil, err
		}
	}
	if report := check.End(0); !report.OK() {
		what := "keys are missing"
		if len(report.Problems) > 0 {
			what = report.Problems[0].String()
		}
		return nil, fmt.Errorf("%w: %s: %s", ErrTampered, path, what)
	}
	s := &store.Stretch{
		First: a.head.First, Last: a.foot.Last, Before: a.head.Previous, LastMAC: a.foot.MAC,
		File: filepath.Base(m.path), Digest: a.digest(),
	}
	if len(s.Before) == 0 {
		s.Before = nil
	}
	return s, nil
}
