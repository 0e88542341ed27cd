package audit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"sluice/proxy/chain"
)

// verification is one verification while it runs.
type verification struct {
	o       Options
	keys    func(id string) ([32]byte, bool)
	heads   []chain.Anchor
	files   []*archive // in the order of their rows
	verdict Verdict

	started, told time.Time
	read, of      int64 // rows, for the progress
}

// Verify checks the record of the database from its first row, archives that
// were given in their places, and heads that were kept elsewhere. It is ErrInput
// where a file is not what it was given as. Findings are no error.
func Verify(ctx context.Context, o Options) (*Verdict, error) {
	const tries = 5
	for range tries {
		v, err := verify(ctx, o)
		if !errors.Is(err, errArchived) {
			return v, err
		}
	}
	return nil, fmt.Errorf("%w: it is being archived, verify it when that is done", ErrBusy)
}

// errArchived: rows went to an archive while they were verified.
var errArchived = errors.New("rows were archived meanwhile")

func verify(ctx context.Context, o Options) (*Verdict, error) {
	v := &verification{o: o, started: time.Now(), told: time.Now()}
	d := &v.verdict
	*d = Verdict{Keys: map[string]int64{}, UnknownKeys: map[string]int64{}, Files: []string{}, Findings: []Finding{}, FilesRead: len(o.Files)}
	var err error
	if v.keys, err = o.keys(ctx); err != nil {
		return nil, err
	}
	kept, err := readHeads(o.Anchors)
	if err != nil {
		return nil, wrong("%s", err)
	}
	v.heads, d.Heads, d.NewestHead = kept.list, len(kept.list), kept.newest
	defer func() {
		for _, a := range v.files {
			a.close()
		}
	}()
	if err := v.open(); err != nil {
		return nil, err
	}
	if o.Store == nil {
		err = v.alone()
	} else {
		err = v.joined(ctx)
	}
	if err != nil {
		return nil, err
	}
	d.Seconds = time.Since(v.started).Seconds()
	d.Verified = max(d.Verified-d.Unchained-d.Unverified(), 0)
	d.Whole = d.Found == 0 && len(d.UnknownKeys) == 0
	return d, nil
}

// open opens the archives and puts them in order.
func (v *verification) open() error {
	for _, path := range v.o.Files {
		a, err := open(path)
		if errors.Is(err, errNoArchive) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return wrong("%s", err)
		}
		if err != nil {
			return err
		}
		v.files = append(v.files, a)
	}
	slices.SortFunc(v.files, func(a, b *archive) int { return cmp.Compare(a.head.First, b.head.First) })
	return nil
}

// alone verifies archives without a database. Those that follow each other are
// joined.
func (v *verification) alone() error {
	var check *chain.Verifier
	next := int64(0)
	for _, a := range v.files {
		if check == nil || a.head.First != next {
			v.end(check, 0)
			check = chain.NewVerifier(v.keys)
			check.After(a.head.First-1, a.head.Previous)
		}
		if err := v.file(check, a); err != nil {
			return err
		}
		next = a.foot.Last + 1
	}
	v.end(check, 0)
	return nil
}

// joined verifies the record of the database.
func (v *verification) joined(ctx context.Context) error {
	s := v.o.Store
	head, err := s.ChainHead(ctx) // before the rows: it must be among them
	if err != nil {
		return err
	}
	stretches, err := s.Stretches(ctx)
	if err != nil {
		return err
	}
	check := chain.NewVerifier(v.keys)
	check.Archived(stretches...)
	check.Expect(v.heads...)
	if head.Number > 0 {
		check.Expect(chain.Anchor{Number: head.Number})
	}
	if head.Chained > 0 {
		check.Expect(chain.Anchor{Number: head.Chained, MAC: head.MAC})
	}
	v.verdict.database, v.of = true, head.Number
	archived := int64(0)
	for i := range stretches {
		archived = stretches[i].Last
		if err := v.stretch(check, &stretches[i]); err != nil {
			return err
		}
	}
	strange, err := v.strangers()
	if err != nil {
		return err
	}
	err = s.Record(ctx, 0, func(r chain.Row) error {
		if f, ok := strange[r.Number]; ok && bytes.Equal(f.MAC, r.MAC) {
			delete(strange, r.Number) // an archive whose rows were not removed yet
		}
		if r.Number <= archived {
			v.verdict.Left++
			return nil
		}
		return v.add(check, &r)
	})
	if err != nil {
		return err
	}
	if head, err = s.ChainHead(ctx); err != nil {
		return err
	}
	if after, err := s.Stretches(ctx); err != nil || len(after) != len(stretches) {
		return cmp.Or(err, errArchived)
	}
	v.end(check, head.Number)
	for _, a := range v.files {
		if _, ok := strange[a.foot.Last]; ok && v.verdict.Found == 0 {
			return wrong("%s, rows %d to %d, is no archive of this record: verify it with --alone", a.path, a.head.First, a.foot.Last)
		}
	}
	return nil
}

// stretch hands over the rows of an archived stretch, where its file was given.
func (v *verification) stretch(check *chain.Verifier, s *chain.Stretch) error {
	at := slices.IndexFunc(v.files, func(a *archive) bool { return !a.joined && a.head.First == s.First })
	if at < 0 {
		v.verdict.Files = append(v.verdict.Files, s.File)
		for _, h := range v.heads {
			if s.First <= h.Number && h.Number < s.Last {
				v.verdict.Heads--
				v.verdict.HeadsApart++
			}
		}
		return nil
	}
	a := v.files[at]
	a.joined = true
	if key, ok := v.keys(s.Key); ok && !bytes.Equal(s.Sum(key), s.MAC) {
		v.verdict.find(Finding{string(chain.Changed), s.First, s.Last, "what the database knows of the archived stretch does not fit its code"})
	}
	found := v.verdict.Found
	if err := v.file(check, a); err != nil {
		return err
	}
	if v.verdict.Found == found && !bytes.Equal(a.digest(), s.Digest) {
		v.verdict.find(Finding{string(chain.Changed), s.First, s.Last, a.path + " is not the file that was archived"})
	}
	return nil
}

// strangers verifies the archives that the database does not know, each alone,
// and returns their ends by the number of the row.
func (v *verification) strangers() (map[int64]foot, error) {
	ends := map[int64]foot{}
	for _, a := range v.files {
		if a.joined {
			continue
		}
		check := chain.NewVerifier(v.keys)
		check.After(a.head.First-1, a.head.Previous)
		if err := v.file(check, a); err != nil {
			return nil, err
		}
		v.end(check, 0)
		ends[a.foot.Last] = a.foot
	}
	return ends, nil
}

// file hands over the rows of an archive. Where it is damaged, that is a
// finding, and its rows end there.
func (v *verification) file(check *chain.Verifier, a *archive) error {
	for {
		r, err := a.next()
		var d *damage
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &d):
			kind := chain.Changed
			if d.cut {
				kind = chain.Truncated
			}
			next := max(a.last.Number+1, a.head.First)
			v.verdict.find(Finding{string(kind), next, next, d.Error()})
			return nil
		case err != nil:
			return err
		}
		if err := v.add(check, r); err != nil {
			return err
		}
	}
}

// add hands over one row, and tells of the progress where it takes long.
func (v *verification) add(check *chain.Verifier, r *chain.Row) error {
	const every = 5 * time.Second
	d := &v.verdict
	if d.First == 0 {
		d.First = r.Number
	}
	if _, seen := d.Keys[r.Key]; (seen || len(d.Keys) < 100) && r.MAC != nil {
		d.Keys[r.Key]++
	}
	v.read++
	if v.read%1024 == 0 && time.Since(v.told) > every {
		v.told = time.Now()
		rate := float64(v.read) / time.Since(v.started).Seconds()
		v.o.Log.Info("verifying the record of changes", slog.Int64("row", r.Number), slog.Int64("of", v.of),
			slog.Int64("rows_read", v.read), slog.Int64("rows_per_second", int64(rate)))
	}
	return check.Add(*r)
}

func (v *verification) end(check *chain.Verifier, newest int64) {
	if check != nil {
		report := check.End(newest)
		v.verdict.add(&report)
	}
}
