package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
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
	var n int64
	err := s.db.query(ctx, "SELECT number FROM sluice.change_head WHERE id = 1", nil,
		func(scan func(...any) error) error { return scan(&n) })
	return n, err
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

// stampOf is the stamp inside an object.
func stampOf(o identity.Object) *identity.Stamp {
	return reflect.ValueOf(o).Elem().FieldByName("Stamp").Addr().Interface().(*identity.Stamp)
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
