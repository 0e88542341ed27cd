package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
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
	Oldest  bool            // first; else the newest
	Limit   int             // 0: all
	Offset  int
}

// Changes reads the record of changes: one page, and how many there are.
func (s *Store) Changes(ctx context.Context, f ChangeFilter) ([]Change, int, error) {
	d := s.db.dialect()
	b := &builder{d: d}
	b.add(" FROM sluice.changes WHERE 1 = 1")
	if err := f.write(b); err != nil {
		return nil, 0, err
	}
	var total int64
	err := s.db.query(ctx, "SELECT count(*)"+b.text.String(), b.args, func(scan func(...any) error) error { return scan(&total) })
	if err != nil {
		return nil, 0, fmt.Errorf("count changes: %w", err)
	}
	b.add(" ORDER BY number")
	if !f.Oldest {
		b.add(" DESC")
	}
	if err := b.page(f.Limit, f.Offset); err != nil {
		return nil, 0, err
	}
	const columns = `number, at, actor, actor_key, claimed_actor, action, object_type, object_id,
		before_value, after_value, source, request_id, host, reason`
	var out []Change
	err = s.db.query(ctx, "SELECT "+columns+b.text.String(), b.args, func(scan func(...any) error) error {
		var c Change
		err := scan(&c.Number, &moment{&c.At}, &c.Actor.User, &c.Actor.Key, &c.Actor.Claimed, (*string)(&c.Action), &c.KindNamed,
			&c.ID, &letters{&c.Before}, &letters{&c.After}, &c.Actor.Source, &c.Actor.RequestID, &c.Host, &c.Actor.Reason)
		c.Kind = identity.KindNamed(c.KindNamed)
		out = append(out, c)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read changes: %w", err)
	}
	return out, int(total), nil
}

func (f ChangeFilter) write(b *builder) error {
	if f.Number != 0 {
		b.add(" AND number = ")
		if err := b.bind(f.Number); err != nil {
			return err
		}
	}
	for _, c := range []struct{ column, value string }{
		{"actor", f.Actor}, {"claimed_actor", f.Claimed}, {"actor_key", f.Key}, {"action", string(f.Action)}, {"object_id", f.ID},
	} {
		if c.value == "" {
			continue
		}
		b.add(" AND ", c.column, " = ")
		if err := b.bind(c.value); err != nil {
			return err
		}
	}
	kinds := f.Kinds
	if f.ID != "" && len(kinds) == 0 { // the index begins with the kind
		kinds = slices.Collect(maps.Keys(mappings))
	}
	if len(kinds) > 0 {
		names := make([]string, len(kinds))
		for i, k := range kinds {
			names[i] = k.String()
		}
		b.add(" AND object_type")
		if err := b.among(names); err != nil {
			return err
		}
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
	return nil
}

// moment takes a time of either database.
type moment struct{ to *time.Time }

// Scan implements sql.Scanner.
func (m *moment) Scan(src any) error { return scanTime(m.to, src) }

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

// digestOf stands for a secret in a record: the same secret, the same text.
func digestOf(v any) any {
	text, ok := v.(string)
	if !ok || text == "" {
		return v
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}
