package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"time"

	"sluice/proxy/identity"
)

// Actor is who changes something, and how it came about.
type Actor struct {
	User      string // the authenticated caller's user id
	Key       string // digest of its key
	Claimed   string // what the caller says about itself: litellm-changed-by
	Source    string // client address
	RequestID string
	Reason    string // x-sluice-reason
}

// Action is what was done to an object.
type Action string

// Actions, in the words of LiteLLM's audit log.
const (
	Created   Action = "created"
	Updated   Action = "updated"
	Deleted   Action = "deleted"
	Blocked   Action = "blocked"
	Unblocked Action = "unblocked"
	Rotated   Action = "rotated"
)

// Actions that LiteLLM does not have.
const (
	Resealed Action = "resealed" // the same secret, sealed with another key
	Promoted Action = "promoted" // of a sealing key: everybody seals with it now
	Retired  Action = "retired"  // of a sealing key: nothing is sealed with it any more
	Imported Action = "imported" // a batch of objects from another system
	Archived Action = "archived" // a stretch of the record, to a file
)

// Tx is one transaction that changes something. Changes are serialised over the
// whole cluster by the lock on the change head, which is taken first: what is
// read in a transaction stays as it is until the transaction ends.
type Tx struct {
	s      *Store
	ctx    context.Context
	tx     transaction
	by     Actor
	now    time.Time
	number int64
	done   []Changed
	seen   map[identity.Object][]any // counters of the objects that were read

	chain    chainState
	promoted *string // id of the key that is sealed with; nil: not read yet
	owed     int64   // number that Take gave to objects, until Note has taken it
}

// saw remembers the counters of an object that was read.
func (t *Tx) saw(m *mapping, o identity.Object) {
	if len(m.counters) == 0 {
		return
	}
	if t.seen == nil {
		t.seen = map[identity.Object][]any{}
	}
	t.seen[o] = m.counts(o)
}

// counts are the values of the counters; money and times, which compare by ==.
func (m *mapping) counts(o identity.Object) []any {
	out := make([]any, len(m.counters))
	for i, c := range m.counters {
		out[i], _ = c.value(dialect{sqlite: true}, o)
	}
	return out
}

// keep gives an object the counters that the row has now where they were not
// changed since it, or the one that it replaces, was read.
func (t *Tx) keep(m *mapping, was, is, before identity.Object) {
	untouched := t.untouched(m, was, before)
	from, to := reflect.ValueOf(before).Elem(), reflect.ValueOf(is).Elem()
	old, now := m.counts(was), m.counts(is)
	for i, c := range m.counters {
		if untouched[c.name] && now[i] == old[i] {
			to.FieldByIndex(c.field).Set(from.FieldByIndex(c.field))
		}
	}
}

// untouched says which counters of an object were not changed since it was read:
// what has been added to them meanwhile stays.
func (t *Tx) untouched(m *mapping, o, before identity.Object) map[string]bool {
	if len(m.counters) == 0 {
		return nil
	}
	old, ok := t.seen[o]
	if !ok {
		old = m.counts(before)
	}
	out := map[string]bool{}
	for i, v := range m.counts(o) {
		out[m.counters[i].name] = v == old[i]
	}
	return out
}

func (t *Tx) reader() querier { return t.tx }

// Now is the time of the transaction: one for all that it writes, to the
// millisecond, which is what clients see.
func (t *Tx) Now() time.Time { return t.now }

// Change runs fn in a transaction and commits what it wrote, audit rows
// included. With an error of fn nothing is written, and the error is returned
// as it is. fn may be run again where the database asks for it.
func (s *Store) Change(ctx context.Context, by Actor, fn func(tx *Tx) error) error {
	const tries = 5
	ctx, cancel := bounded(ctx)
	defer cancel()
	s.awaitChain(ctx)
	for i := 1; ; i++ {
		done, err := s.change(ctx, by, fn)
		if err == nil {
			if s.c.Committed != nil && len(done) > 0 {
				s.c.Committed(done)
			}
			return nil
		}
		if i == tries || !again(err) {
			return err
		}
		if err := Pause(ctx, rand.N(time.Duration(i)*20*time.Millisecond)); err != nil {
			return err
		}
	}
}

// Pause waits, or returns early with an error when ctx ends.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to try again: %w", ctx.Err())
	}
}

func (s *Store) change(ctx context.Context, by Actor, fn func(tx *Tx) error) ([]Changed, error) {
	db, err := s.db.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin a change: %w", err)
	}
	defer db.rollback() // does nothing after a commit
	t := &Tx{s: s, ctx: ctx, tx: db, by: by, now: s.c.Now().UTC().Truncate(time.Millisecond)}
	if err := t.takeNumber(); err != nil {
		return nil, fmt.Errorf("lock the change head: %w", err)
	}
	if err := fn(t); err != nil {
		return nil, err
	}
	if t.owed != 0 {
		return nil, errors.New("BUG: objects were taken and no Note followed")
	}
	if len(t.done) > 0 && s.unlocked == nil {
		raise := "UPDATE sluice.change_head SET number = $1, chained = $2, chain_mac = $3 WHERE id = 1"
		if !db.dialect().sqlite {
			raise += " RETURNING pg_notify('sluice_changes', number::text)"
		}
		if _, err := db.exec(ctx, raise, []any{t.number, t.chain.number, t.chain.mac}); err != nil {
			return nil, fmt.Errorf("raise the change head: %w", err)
		}
	}
	if err := db.commit(ctx); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return t.done, nil
}

// Insert writes a new object and its audit row. The store fills in the stamp.
func (t *Tx) Insert(o identity.Object) error { return t.InsertAs(Created, o) }

// takeNumber locks the change head and reads it.
func (t *Tx) takeNumber() error {
	if t.s.unlocked != nil {
		var err error
		t.number, err = t.s.unlocked(t.ctx)
		return err
	}
	lock := "SELECT number, chained, chain_mac FROM sluice.change_head WHERE id = 1 FOR UPDATE"
	if t.tx.dialect().sqlite { // the transaction is immediate: the whole file is ours
		lock = "SELECT number, chained, chain_mac FROM sluice.change_head WHERE id = 1"
	}
	return t.tx.query(t.ctx, lock, nil, func(scan func(...any) error) error {
		return scan(&t.number, &t.chain.number, &t.chain.mac)
	})
}

// InsertAs is Insert under another action.
func (t *Tx) InsertAs(a Action, o identity.Object) error {
	m := mapped(o.Kind())
	if err := t.checkSeal(o, nil); err != nil {
		return err
	}
	t.number++
	s := m.stampOf(o)
	*s = identity.Stamp{ChangeNumber: t.number, CreatedAt: t.now, CreatedBy: t.by.User, UpdatedAt: t.now, UpdatedBy: t.by.User}
	if err := t.insertRow(m, o); err != nil {
		return err
	}
	return t.recordObject(a, m, o, nil, o)
}

// insertRow writes an object as it is, without an audit row.
func (t *Tx) insertRow(m *mapping, o identity.Object) error {
	b := &builder{m: m, d: t.tx.dialect()}
	b.add("INSERT INTO ", table(m.kind), " (", m.columnList(), ") VALUES (")
	for i, c := range m.columns {
		if i > 0 {
			b.add(", ")
		}
		if err := b.field(c, o); err != nil {
			return err
		}
	}
	b.add(")")
	if _, err := t.tx.exec(t.ctx, b.text.String(), b.args); err != nil {
		return fmt.Errorf("%s %s: %w", m.kind, m.id(o), err)
	}
	return nil
}

// Update writes all columns of an object that exists, and its audit row. Spend
// and the time of the last use are counted without a Change: they are written
// only where they are others than when the object was read in this transaction;
// a spend that somebody sets is also that of the object's budget windows.
func (t *Tx) Update(o identity.Object) error { return t.UpdateAs(Updated, o) }

// UpdateAs is Update under another action.
func (t *Tx) UpdateAs(a Action, o identity.Object) error {
	m := mapped(o.Kind())
	before, err := t.before(m, o)
	if err != nil {
		return err
	}
	if err := t.checkSeal(o, before); err != nil {
		return err
	}
	t.number++
	s := m.stampOf(o)
	s.ChangeNumber = t.number
	if a != Resealed { // what people know of the object is what it was
		s.UpdatedAt, s.UpdatedBy = t.now, t.by.User
	}
	b := &builder{m: m, d: t.tx.dialect()}
	b.add("UPDATE ", table(m.kind), " SET ")
	first, untouched := true, t.untouched(m, o, before)
	for _, c := range m.columns {
		if untouched[c.name] || c.key || c.name == "created_at" || c.name == "created_by" {
			continue
		}
		if !first {
			b.add(", ")
		}
		first = false
		b.add(c.name, " = ")
		if err := b.field(c, o); err != nil {
			return err
		}
	}
	if err := b.whereKey(o); err != nil {
		return err
	}
	if _, err := t.tx.exec(t.ctx, b.text.String(), b.args); err != nil {
		return fmt.Errorf("%s %s: %w", m.kind, m.id(o), err)
	}
	if a == Resealed {
		if err := t.stillImported(m, o, before); err != nil {
			return err
		}
	}
	if was, ok := untouched["spend"]; ok && !was {
		if err := t.setWindows(m, o); err != nil {
			return err
		}
	}
	return t.recordObject(a, m, o, before, o)
}

// Delete removes an object and writes its audit row.
func (t *Tx) Delete(o identity.Object) error {
	m := mapped(o.Kind())
	before, err := t.before(m, o)
	if err != nil {
		return err
	}
	t.number++
	if err := t.deleteRow(m, o); err != nil {
		return err
	}
	if err := t.dropWindows(m, o); err != nil {
		return err
	}
	return t.recordObject(Deleted, m, o, before, nil)
}

// deleteRow removes an object without an audit row.
func (t *Tx) deleteRow(m *mapping, o identity.Object) error {
	b := &builder{m: m, d: t.tx.dialect()}
	b.add("DELETE FROM ", table(m.kind))
	if err := b.whereKey(o); err != nil {
		return err
	}
	if _, err := t.tx.exec(t.ctx, b.text.String(), b.args); err != nil {
		return fmt.Errorf("%s %s: %w", m.kind, m.id(o), err)
	}
	return nil
}

// before reads the object as it is in the database, and keeps others from
// counting in it until the transaction ends.
func (t *Tx) before(m *mapping, o identity.Object) (identity.Object, error) {
	old := m.fresh()
	b := &builder{m: m, d: t.tx.dialect()}
	b.add("SELECT ", m.columnList(), " FROM ", table(m.kind))
	if err := b.whereKey(o); err != nil {
		return nil, err
	}
	if !t.tx.dialect().sqlite {
		b.add(" FOR UPDATE")
	}
	found := false
	err := t.tx.query(t.ctx, b.text.String(), b.args, func(scan func(...any) error) error {
		found = true
		return scan(m.destinations(old)...)
	})
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", m.kind, m.id(o), err)
	}
	if !found {
		return nil, fmt.Errorf("%s %s: %w", m.kind, m.id(o), ErrNotFound)
	}
	return old, nil
}

func (b *builder) field(c column, o identity.Object) error {
	v, err := c.value(b.d, o)
	if err != nil {
		return fmt.Errorf("column %s: %w", c.name, err)
	}
	b.args = append(b.args, v)
	b.add("$", strconv.Itoa(len(b.args)))
	return nil
}

func (b *builder) whereKey(o identity.Object) error {
	for i, c := range b.m.keys {
		if i == 0 {
			b.add(" WHERE ")
		} else {
			b.add(" AND ")
		}
		b.add(c.name, " = ")
		if err := b.field(c, o); err != nil {
			return err
		}
	}
	return nil
}
