package store

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"sluice/proxy/identity"
)

// Change is a row of the record of changes.
type Change struct {
	Number    int64
	At        time.Time
	Actor     Actor
	Action    Action
	Kind      identity.Kind
	ID        string
	Before    json.RawMessage // nil: there was none
	After     json.RawMessage // nil: there is none
	Host      string
	KindNamed string // object_type as it is written, for kinds of newer releases
	ChainKey  string // id of the sealing key that MAC was made under; "": not chained yet
	MAC       []byte // code of the row in the chain, nil: not chained yet
}

// Head is the number of the newest change.
func (s *Store) Head(ctx context.Context) (int64, error) {
	read := func(ctx context.Context) (n int64, err error) {
		err = s.db.query(ctx, "SELECT number FROM sluice.change_head WHERE id = 1", nil,
			func(scan func(...any) error) error { return scan(&n) })
		return n, err
	}
	if f, ok := s.db.(*file); ok {
		return f.still.number(ctx, read)
	}
	return read(ctx)
}

// Since lists what changed after a number, oldest first, at most limit changes.
func (s *Store) Since(ctx context.Context, number int64, limit int) ([]Changed, error) {
	var out []Changed
	err := s.db.query(ctx, "SELECT number, object_type, object_id FROM sluice.changes WHERE number > $1 ORDER BY number LIMIT $2",
		[]any{number, int64(limit)}, func(scan func(...any) error) error {
			var c Changed
			var kind string
			err := scan(&c.Number, &kind, &c.ID)
			c.Kind = identity.KindNamed(kind)
			out = append(out, c)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	return out, nil
}

// ChangeFilter names changes. What is empty does not matter.
type ChangeFilter struct {
	Number  int64  // this one
	Actor   string // the authenticated user
	Claimed string // what the caller said about itself
	Key     string // digest of the caller's key
	Action  Action
	Kinds   []identity.Kind // of any of them
	ID      string          // of the object, as the store knows it
	From    time.Time       // not earlier
	To      time.Time       // not later
	Source  string          // client address
	Request string          // id of the request
	Team    string          // team_id of the object, before or after
	Token   string          // digest of a key: token of the object, before or after
	Any     string          // is the object's id, the user, or the digest of the caller's key
	After   int64           // number is greater
	Oldest  bool            // first; else the newest
	Limit   int             // 0: all
	Offset  int
}

// most is how far a page of changes is counted: further on, the record is read
// by number.
const most = 100_000

// Changes reads the record of changes: one page, and how many there are, where
// that is less than 100,000; else 100,000 stands for all of them.
func (s *Store) Changes(ctx context.Context, f ChangeFilter) ([]Change, int, error) {
	b := &builder{d: s.db.dialect()}
	b.add("SELECT count(*) FROM (SELECT 1 FROM sluice.changes WHERE 1 = 1")
	if err := f.write(b); err != nil {
		return nil, 0, err
	}
	b.add(" LIMIT ", strconv.Itoa(most), ") AS counted")
	var total int64
	err := s.db.query(ctx, b.text.String(), b.args, func(scan func(...any) error) error { return scan(&total) })
	if err != nil {
		return nil, 0, fmt.Errorf("count changes: %w", err)
	}
	var out []Change
	err = s.EachChange(ctx, f, func(c *Change) error {
		out = append(out, *c)
		return nil
	})
	return out, int(total), err
}

// EachChange calls fn with each of the changes, one after the other, and keeps
// none of them. An error of fn ends the reading and is returned as it is.
func (s *Store) EachChange(ctx context.Context, f ChangeFilter, fn func(c *Change) error) error {
	b := &builder{d: s.db.dialect()}
	b.add(`SELECT number, at, actor, actor_key, claimed_actor, action, object_type, object_id,
		before_value, after_value, source, request_id, host, reason, chain_key, chain_mac FROM sluice.changes WHERE 1 = 1`)
	if err := f.write(b); err != nil {
		return err
	}
	b.add(" ORDER BY number")
	if f.Any != "" { // found by other indexes: in the order of this one all rows would be read for a few
		b.add(" + 0")
	}
	if !f.Oldest {
		b.add(" DESC")
	}
	if err := b.page(f.Limit, f.Offset); err != nil {
		return err
	}
	var stopped error
	err := s.db.query(ctx, b.text.String(), b.args, func(scan func(...any) error) error {
		var c Change
		err := scan(&c.Number, &moment{&c.At}, &c.Actor.User, &c.Actor.Key, &c.Actor.Claimed, (*string)(&c.Action), &c.KindNamed,
			&c.ID, &letters{&c.Before}, &letters{&c.After}, &c.Actor.Source, &c.Actor.RequestID, &c.Host, &c.Actor.Reason, &c.ChainKey, &c.MAC)
		if err != nil {
			return err
		}
		c.Kind = identity.KindNamed(c.KindNamed)
		stopped = fn(&c)
		return stopped
	})
	if err != nil && stopped == nil {
		return fmt.Errorf("read changes: %w", err)
	}
	return stopped
}

func (f *ChangeFilter) write(b *builder) error {
	numbers := []struct {
		operator string
		value    int64
	}{{"=", f.Number}, {">", f.After}}
	for _, c := range numbers {
		if c.value == 0 {
			continue
		}
		b.add(" AND number ", c.operator, " ")
		if err := b.bind(c.value); err != nil {
			return err
		}
	}
	for _, c := range []struct{ column, value string }{
		{"actor", f.Actor},
		{"claimed_actor", f.Claimed},
		{"actor_key", f.Key},
		{"action", string(f.Action)},
		{"object_id", f.ID},
		{"source", f.Source},
		{"request_id", f.Request},
	} {
		if c.value == "" {
			continue
		}
		// What is never asked for empty is indexed where it is not: that has to be said.
		b.add(" AND ", c.column, " <> '' AND ", c.column, " = ")
		if err := b.bind(c.value); err != nil {
			return err
		}
	}
	if err := f.objects(b); err != nil {
		return err
	}
	for _, c := range []struct {
		operator string
		value    time.Time
	}{{">=", f.From}, {"<=", f.To}} {
		if c.value.IsZero() {
			continue
		}
		b.add(" AND at ", c.operator, " ")
		if err := b.bind(c.value); err != nil {
			return err
		}
	}
	return f.values(b)
}

// objects writes what concerns the sort of the objects.
func (f *ChangeFilter) objects(b *builder) error {
	kinds := f.Kinds
	if f.ID != "" && len(kinds) == 0 { // the index begins with the kind
		kinds = everyKind()
	}
	if len(kinds) > 0 {
		b.add(" AND object_type")
		if err := b.among(namesOf(kinds)); err != nil {
			return err
		}
	}
	if f.Any == "" {
		return nil
	}
	// An index for each, which no plan would use for one condition or the other.
	b.add(" AND number IN (SELECT number FROM sluice.changes WHERE actor = ")
	if err := b.bind(f.Any); err != nil {
		return err
	}
	same := "$" + strconv.Itoa(len(b.args))
	b.add(" UNION ALL SELECT number FROM sluice.changes WHERE actor_key = ", same,
		" UNION ALL SELECT number FROM sluice.changes WHERE object_id = ", same, " AND object_type")
	if err := b.among(namesOf(everyKind())); err != nil {
		return err
	}
	if n, err := strconv.ParseInt(f.Any, 10, 64); err == nil {
		b.add(" UNION ALL SELECT number FROM sluice.changes WHERE number = ")
		if err := b.bind(n); err != nil {
			return err
		}
	}
	b.add(")")
	return nil
}

// values writes what concerns the recorded objects. No index helps there.
func (f *ChangeFilter) values(b *builder) error {
	for _, c := range []struct{ field, value string }{{"team_id", f.Team}, {"token", f.Token}} {
		if c.value == "" {
			continue
		}
		b.add(" AND (before_value->>'", c.field, "' = ")
		if err := b.bind(c.value); err != nil {
			return err
		}
		b.add(" OR after_value->>'", c.field, "' = $", strconv.Itoa(len(b.args)), ")")
	}
	return nil
}

// everyKind lists what the record tells of.
func everyKind() []identity.Kind {
	kinds := []identity.Kind{identity.KindSealingKey, identity.KindImport, identity.KindArchive}
	for k := range mappings {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	return kinds
}

func namesOf(kinds []identity.Kind) []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.String()
	}
	return names
}

// moment takes a time of either database.
type moment struct{ to *time.Time }

// Scan implements sql.Scanner.
func (m *moment) Scan(src any) error { return scanTime(m.to, src) }

// maybeMoment takes a time that may be NULL.
type maybeMoment struct{ to **time.Time }

// Scan implements sql.Scanner.
func (m *maybeMoment) Scan(src any) error {
	*m.to = nil
	if src == nil {
		return nil
	}
	*m.to = new(time.Time)
	return scanTime(*m.to, src)
}

// letters takes a document to the letter; NULL is nil.
type letters struct{ to *json.RawMessage }

// Scan implements sql.Scanner.
func (l *letters) Scan(src any) error {
	*l.to = nil
	if src != nil {
		*l.to = append(json.RawMessage{}, bytesOf(src)...)
	}
	return nil
}

// fresh is a new object of the kind.
func (m *mapping) fresh() identity.Object {
	return reflect.New(objectTypes[m.kind]).Interface().(identity.Object)
}

var objectTypes = map[identity.Kind]reflect.Type{
	identity.KindKey:                reflect.TypeFor[identity.Key](),
	identity.KindRetiredKey:         reflect.TypeFor[identity.RetiredKey](),
	identity.KindUser:               reflect.TypeFor[identity.User](),
	identity.KindTeam:               reflect.TypeFor[identity.Team](),
	identity.KindMember:             reflect.TypeFor[identity.Member](),
	identity.KindOrganization:       reflect.TypeFor[identity.Organization](),
	identity.KindOrganizationMember: reflect.TypeFor[identity.OrganizationMember](),
	identity.KindProject:            reflect.TypeFor[identity.Project](),
	identity.KindEndUser:            reflect.TypeFor[identity.EndUser](),
	identity.KindBudget:             reflect.TypeFor[identity.Budget](),
	identity.KindTag:                reflect.TypeFor[identity.Tag](),
	identity.KindAccessGroup:        reflect.TypeFor[identity.AccessGroup](),
	identity.KindModel:              reflect.TypeFor[identity.Model](),
	identity.KindCredential:         reflect.TypeFor[identity.Credential](),
	identity.KindConfig:             reflect.TypeFor[identity.ConfigItem](),
	identity.KindInvitation:         reflect.TypeFor[identity.Invitation](),
	identity.KindJWTMapping:         reflect.TypeFor[identity.JWTMapping](),
}
