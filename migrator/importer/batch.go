package importer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"

	"sluice/migrator/litellm"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// Bounds of a batch: what one change writes, and what is kept in memory for it.
const (
	batchRows    = 1000
	batchObjects = 1000
	batchBytes   = 4 << 20 // of documents
)

// batch is what one change will write: the objects of some rows that follow
// each other in a table. It is the sink of the converter.
type batch struct {
	r *run
	t *litellm.Table
	c *TableReport

	rows  int
	bytes int
	first string // key of the first row
	last  []string
	sum   hash.Hash

	output
}

// output is what rows have brought. Kinds keep the order in which they came
// first: an object that others refer to comes before them.
type output struct {
	kinds     []kindObjects
	documents []tableDocuments
	daily     []store.DailySpend
	windows   []store.BudgetWindow
	logs      []store.SpendLog
}

type kindObjects struct {
	kind    identity.Kind
	objects []identity.Object
}

type tableDocuments struct {
	table     string
	documents []store.Document
}

// size is how many things there are.
func (o *output) size() int {
	n := o.others() + len(o.logs)
	for _, k := range o.kinds {
		n += len(k.objects)
	}
	return n
}

// others are those that are no objects, but for the rows of logs.
func (o *output) others() int {
	n := len(o.daily) + len(o.windows)
	for _, d := range o.documents {
		n += len(d.documents)
	}
	return n
}

// mark is a copy that cut returns to.
func (o *output) mark() output {
	m := *o
	m.kinds = append([]kindObjects(nil), o.kinds...)
	m.documents = append([]tableDocuments(nil), o.documents...)
	return m
}

func newBatch(r *run, t *litellm.Table) *batch {
	return &batch{r: r, t: t, c: r.report.table(t.Name), sum: sha256.New()}
}

// clear makes room for the next batch of the table.
func (b *batch) clear() {
	b.rows, b.bytes, b.first = 0, 0, ""
	b.sum.Reset()
	b.output = output{}
}

func (b *batch) full() bool {
	return b.rows >= batchRows || b.bytes >= batchBytes || b.size() >= batchObjects
}

// row converts one document.
func (b *batch) row(one row) error {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(one.doc)))
	b.sum.Write(length[:])
	b.sum.Write(one.doc)
	if b.rows == 0 {
		b.first = strings.Join(one.key, "/")
	}
	b.rows++
	b.bytes += len(one.doc)
	b.last = one.key
	b.c.Rows++
	b.r.done++
	before := b.size()
	err := b.convert(one)
	if err != nil {
		return fmt.Errorf("%s %s: %w", b.t.Name, strings.Join(one.key, "/"), err)
	}
	if b.size() == before {
		b.c.Skipped++
	}
	b.r.progress.at(b.c.Rows)
	return nil
}

// convert has the row say what it means. One with a text that cannot be opened
// is left out where that is wanted.
func (b *batch) convert(one row) error {
	if !b.t.Sealed || !b.r.o.LeaveUnreadable {
		return b.t.Convert(b.r.c, one.doc)
	}
	before := b.mark()
	err := b.t.Convert(b.r.c, one.doc)
	var sealed *litellm.SealedError
	if errors.As(err, &sealed) {
		b.output = before
		b.c.note(strings.Join(one.key, "/"), "not taken: it holds a text that is encrypted with a key that was not given")
		return nil
	}
	return err
}

// Object is part of litellm.Sink.
func (b *batch) Object(o identity.Object) error {
	for i := range b.kinds {
		if k := &b.kinds[i]; k.kind == o.Kind() {
			k.objects = append(k.objects, o)
			return nil
		}
	}
	b.kinds = append(b.kinds, kindObjects{o.Kind(), []identity.Object{o}})
	return nil
}

// Document is part of litellm.Sink.
func (b *batch) Document(table, id string, doc []byte) error {
	d := store.Document{ID: id, JSON: doc}
	for i := range b.documents {
		if t := &b.documents[i]; t.table == table {
			t.documents = append(t.documents, d)
			return nil
		}
	}
	b.documents = append(b.documents, tableDocuments{table, []store.Document{d}})
	return nil
}

// Daily is part of litellm.Sink.
func (b *batch) Daily(s store.DailySpend) error {
	b.daily = append(b.daily, s)
	return nil
}

// Window is part of litellm.Sink.
func (b *batch) Window(w store.BudgetWindow) error {
	b.windows = append(b.windows, w)
	return nil
}

// SpendLog is part of litellm.Sink.
func (b *batch) SpendLog(l store.SpendLog) error {
	b.logs = append(b.logs, l)
	return nil
}

// Skip is part of litellm.Sink.
func (b *batch) Skip(table, id, reason string) {
	b.r.report.table(table).note(id, "not taken: "+reason)
}

// Report is part of litellm.Sink.
func (b *batch) Report(table, id, problem string) { b.r.report.table(table).note(id, problem) }

// flush writes the batch, its row in the record and the cursor after it, all in
// one change.
func (r *run) flush(ctx context.Context, last bool) error {
	b := r.batch
	if err := lost(ctx); err != nil {
		return err
	}
	was := r.cursors[b.t.Name]
	if b.rows == 0 { // the next change writes that the table is done
		r.cursors[b.t.Name] = cursor{After: was.After, Done: last}
		return nil
	}
	before := *b.c
	r.cursors[b.t.Name] = cursor{After: b.last, Done: last}
	var err error
	if r.o.Store != nil {
		err = r.write(ctx, func(tx *store.Tx) error {
			*b.c = before // it may be run again
			err := r.writeBatch(tx, b)
			if err == nil && r.o.stop != nil {
				err = r.o.stop(false)
			}
			return err
		})
	} else {
		b.c.New += int64(b.size() - b.others() - len(b.logs))
		b.c.Other += int64(b.others() + len(b.logs))
	}
	if err != nil {
		r.cursors[b.t.Name], *b.c = was, before
		if errors.Is(err, store.ErrStaleSeal) {
			return tryAgain("another key to seal with was promoted while it was imported; the same command goes on with that one")
		}
		return fmt.Errorf("write rows of %s from %s on: %w", b.t.Name, b.first, err)
	}
	b.clear()
	r.written = r.done
	if r.o.stop != nil {
		return r.o.stop(true)
	}
	return nil
}

// write is save, or in a dry run a change that is taken back.
func (r *run) write(ctx context.Context, fn func(tx *store.Tx) error) error {
	if !r.o.DryRun {
		if err := cursorFirst(func() error { return r.save(ctx, nil) }); err != nil {
			return err
		}
		return r.save(ctx, fn)
	}
	ctx, cancel := context.WithTimeout(ctx, batchTime)
	defer cancel()
	err := r.o.Store.Change(ctx, store.Actor{User: Actor}, func(tx *store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return errDry
	})
	if errors.Is(err, errDry) {
		return nil
	}
	return err
}

// writeBatch writes what a batch holds, and one row of the record for it: how
// many things were written, the first and last row of the source that they came
// from, and the SHA-256 of these rows as row_to_json gives them, the length of
// each before it as eight bytes, big endian.
func (r *run) writeBatch(tx *store.Tx, b *batch) error {
	written := 0
	for _, k := range b.kinds {
		for objects := range slices.Chunk(k.objects, batchObjects) {
			taken, err := tx.Take(k.kind, objects)
			if err != nil {
				return err
			}
			b.c.add(taken)
			written += taken.Inserted + taken.Replaced
		}
	}
	for _, d := range b.documents {
		if err := tx.TakeDocuments(d.table, d.documents); err != nil {
			return err
		}
	}
	if err := tx.TakeDaily(b.daily); err != nil {
		return err
	}
	if err := tx.TakeWindows(b.windows); err != nil {
		return err
	}
	n, err := tx.TakeSpendLogs(b.logs)
	if err != nil {
		return err
	}
	b.c.Same += int64(len(b.logs) - n)
	b.c.Other += int64(b.others() + n)
	if written += b.others() + n; written == 0 {
		return nil // everything is here as it is there
	}
	// The objects have the number of this row of the record.
	return tx.Note(store.Imported, identity.KindImport, System+"/"+b.t.Name+"/"+strconv.FormatInt(b.c.Rows, 10), nil, map[string]any{
		"count": written, "rows": b.rows, "first": b.first, "last": strings.Join(b.last, "/"),
		"sha256": hex.EncodeToString(b.sum.Sum(nil)), "run": r.report.Run,
	})
}
