package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/identity"
)

// ErrStaleSeal refuses an object that was sealed with another key than the
// promoted one: the caller takes that one and does it again.
var ErrStaleSeal = errors.New("the value was sealed with a key that is no longer the one to seal with")

// metaSealingKey is the name in meta of the id of the key that is sealed with.
const metaSealingKey = "sealing_key"

// kindsSealed are the kinds whose rows name the key that they were sealed with.
var kindsSealed = []identity.Kind{identity.KindModel, identity.KindCredential, identity.KindConfig}

// SealingKey is a key that this database is, or was, sealed with.
type SealingKey struct {
	ID         string
	Check      string // a text that opens with this key alone
	AuditKey   string // its chain key, sealed; "": it is derived from the key itself
	SealedWith string // id of the key that AuditKey is sealed with
	PromotedAt time.Time
	RetiredAt  *time.Time // nil: rows may name it
}

// SealingKeys lists all keys, the one that was promoted last at the end.
func (s *Store) SealingKeys(ctx context.Context) ([]SealingKey, error) { return sealingKeys(ctx, s.db) }

// SealingKeys is the same inside a transaction.
func (t *Tx) SealingKeys() ([]SealingKey, error) { return sealingKeys(t.ctx, t.tx) }

func sealingKeys(ctx context.Context, db querier) ([]SealingKey, error) {
	var out []SealingKey
	err := db.query(ctx, `SELECT key_id, seal_check, audit_key, sealed_with, promoted_at, retired_at FROM sluice.sealing_keys
		ORDER BY promoted_at, key_id`, nil, func(scan func(...any) error) error {
		var k SealingKey
		err := scan(&k.ID, &k.Check, &k.AuditKey, &k.SealedWith, &moment{&k.PromotedAt}, &maybeMoment{&k.RetiredAt})
		out = append(out, k)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the sealing keys: %w", err)
	}
	return out, nil
}

// SealingKey is the id of the key that everybody seals with; "" before the first
// promotion.
func (s *Store) SealingKey(ctx context.Context) (id string, err error) {
	id, err = s.Meta(ctx, metaSealingKey)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return id, err
}

// SealingKey is the same inside a transaction, in which it does not change but
// by Promote.
func (t *Tx) SealingKey() (string, error) {
	if t.promoted != nil {
		return *t.promoted, nil
	}
	id := ""
	err := t.tx.query(t.ctx, "SELECT value FROM sluice.meta WHERE name = $1", []any{metaSealingKey},
		func(scan func(...any) error) error { return scan(&id) })
	if err != nil {
		return "", fmt.Errorf("read meta %s: %w", metaSealingKey, err)
	}
	t.promoted = &id
	return id, nil
}

// Promote makes a key the one that everybody seals with, and leaves an audit
// row. old are the keys before it with AuditKey and SealedWith as they are now
// to be; the store fills in the time of the promotion.
func (t *Tx) Promote(k SealingKey, old []SealingKey) error {
	was, err := t.SealingKey()
	if err != nil {
		return err
	}
	d := t.tx.dialect()
	_, err = t.tx.exec(t.ctx, `INSERT INTO sluice.sealing_keys (key_id, seal_check, audit_key, sealed_with, promoted_at)
		VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key_id) DO UPDATE SET seal_check = excluded.seal_check,
		audit_key = excluded.audit_key, sealed_with = excluded.sealed_with, promoted_at = excluded.promoted_at, retired_at = NULL`,
		[]any{k.ID, k.Check, k.AuditKey, k.SealedWith, d.time(t.now)})
	if err != nil {
		return fmt.Errorf("write sealing key %s: %w", k.ID, err)
	}
	for i := range old {
		if err := t.SealAuditKey(old[i].ID, old[i].AuditKey, old[i].SealedWith); err != nil {
			return err
		}
	}
	_, err = t.tx.exec(t.ctx, `INSERT INTO sluice.meta (name, value, updated_at) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at`,
		[]any{metaSealingKey, k.ID, d.time(t.now)})
	if err != nil {
		return fmt.Errorf("write meta %s: %w", metaSealingKey, err)
	}
	t.promoted = &k.ID
	var before any
	if was != "" {
		before = map[string]string{metaSealingKey: was}
	}
	return t.Note(Promoted, identity.KindSealingKey, k.ID, before, map[string]string{metaSealingKey: k.ID})
}

// SealAuditKey replaces the sealed chain key of a sealing key. It leaves no
// audit row: what is sealed stays the same.
func (t *Tx) SealAuditKey(id, auditKey, sealedWith string) error {
	n, err := t.tx.exec(t.ctx, "UPDATE sluice.sealing_keys SET audit_key = $2, sealed_with = $3 WHERE key_id = $1",
		[]any{id, auditKey, sealedWith})
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("seal the chain key of sealing key %s: %w", id, err)
	}
	return nil
}

// InUseError refuses to retire a key that rows are sealed with.
type InUseError struct {
	ID   string
	Rows map[string]int // kind, rows; "sealing_key": chain keys that are sealed with it
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("sealing key %s is in use: %s", e.ID, Rows(e.Rows))
}

// Retire notes that nothing is sealed with a key any more, with an audit row. It
// is an *InUseError where a row names it.
func (t *Tx) Retire(id string) error {
	promoted, err := t.SealingKey()
	if err != nil {
		return err
	}
	if promoted == id {
		return fmt.Errorf("sealing key %s is the one that is sealed with: promote another one first", id)
	}
	rows, err := sealedRows(t.ctx, t.tx)
	if err != nil {
		return err
	}
	if len(rows[id]) > 0 {
		return &InUseError{ID: id, Rows: rows[id]}
	}
	n, err := t.tx.exec(t.ctx, "UPDATE sluice.sealing_keys SET retired_at = $2 WHERE key_id = $1 AND retired_at IS NULL",
		[]any{id, t.tx.dialect().time(t.now)})
	if err == nil && n == 0 {
		err = fmt.Errorf("no key in use has this id: %w", ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("retire sealing key %s: %w", id, err)
	}
	return t.Note(Retired, identity.KindSealingKey, id, nil, nil)
}

// SealedRows counts what is sealed with each key: by its id and by kind. Chain
// keys that are sealed with another key count as its rows of the kind
// sealing_key.
func (s *Store) SealedRows(ctx context.Context) (map[string]map[string]int, error) {
	return sealedRows(ctx, s.db)
}

func sealedRows(ctx context.Context, db querier) (map[string]map[string]int, error) {
	statement := `SELECT '` + identity.KindSealingKey.String() + `', sealed_with, count(*) FROM sluice.sealing_keys
		WHERE audit_key <> '' AND sealed_with <> '' GROUP BY sealed_with`
	for _, k := range kindsSealed {
		statement += " UNION ALL SELECT '" + k.String() + "', sealed_with, count(*) FROM " + table(k) +
			" WHERE sealed_with <> '' GROUP BY sealed_with"
	}
	out := map[string]map[string]int{}
	err := db.query(ctx, statement, nil, func(scan func(...any) error) error {
		var kind, id string
		var n int64
		if err := scan(&kind, &id, &n); err != nil {
			return err
		}
		if out[id] == nil {
			out[id] = map[string]int{}
		}
		out[id][kind] = int(n)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count what is sealed: %w", err)
	}
	return out, nil
}

// checkSeal refuses what was sealed now with another key than the promoted one.
// What stays as it is, sealed with an older key, is let through: it is sealed
// anew in the background.
func (t *Tx) checkSeal(o, before identity.Object) error {
	with, content := sealOf(o)
	if with == "" || unguarded() {
		return nil
	}
	promoted, err := t.SealingKey()
	if err != nil || promoted == "" || promoted == with {
		return err
	}
	if before != nil {
		if old, same := sealOf(before); old == with && reflect.DeepEqual(content, same) {
			return nil
		}
	}
	return fmt.Errorf("%s %s: %w", o.Kind(), mapped(o.Kind()).id(o), ErrStaleSeal)
}

// sealOf is the key that an object was sealed with, and what was.
func sealOf(o identity.Object) (with string, content any) {
	switch o := o.(type) {
	case *identity.Model:
		return o.SealedWith, o.Params
	case *identity.Credential:
		return o.SealedWith, o.Values
	case *identity.ConfigItem:
		return o.SealedWith, o.Value
	default:
		return "", nil
	}
}

// stillImported keeps an object that was imported from counting as changed here
// because it was sealed with another key.
func (t *Tx) stillImported(m *mapping, o, before identity.Object) error {
	_, err := t.tx.exec(t.ctx, `UPDATE sluice.imported SET change_number = $1
		WHERE object_type = $2 AND object_id = $3 AND change_number = $4`,
		[]any{m.stampOf(o).ChangeNumber, m.kind.String(), m.importID(o), m.stampOf(before).ChangeNumber})
	if err != nil {
		return fmt.Errorf("note the new seal of %s %s: %w", m.kind, m.id(o), err)
	}
	return nil
}

// Rows says how many rows there are of which kind, for people: "2 models,
// 1 credential".
func Rows(byKind map[string]int) string {
	var parts []string
	for _, k := range []struct{ kind, one, more string }{
		{"model", "model", "models"},
		{"credential", "credential", "credentials"},
		{"config", "section of settings", "sections of settings"},
		{"sealing_key", "key of the record", "keys of the record"},
	} {
		switch n := byKind[k.kind]; {
		case n == 1:
			parts = append(parts, "1 "+k.one)
		case n > 1:
			parts = append(parts, strconv.Itoa(n)+" "+k.more)
		}
	}
	return strings.Join(parts, ", ")
}
