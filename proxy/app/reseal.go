package app

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

const (
	resealBatch = 20                    // rows of a change: other changes wait for it
	resealPause = 50 * time.Millisecond // between two changes: callers of the API come first
)

// resealer seals anew what names another key than the promoted one. It may end
// at any moment: what is done is in the database, and the next one goes on.
type resealer struct {
	store  *store.Store
	log    *slog.Logger
	broken map[string]int64 // rows that no key here opens, with the number of their change
	done   int              // rows of this run
}

// resealable are the kinds of rows that are sealed, with how they are found.
var resealable = []func(ctx context.Context, tx *store.Tx, q store.Query) ([]identity.Object, error){
	objectsOf[identity.Model], objectsOf[identity.Credential], objectsOf[identity.ConfigItem],
}

func objectsOf[T any, P interface {
	*T
	identity.Object
}](ctx context.Context, tx *store.Tx, q store.Query) ([]identity.Object, error) {
	found, err := store.Find[T, P](ctx, tx, q)
	out := make([]identity.Object, len(found))
	for i := range found {
		out[i] = P(found[i])
	}
	return out, err
}

// batch seals the next rows anew, in one change in which nobody else changes
// them, and returns how many. It is store.ErrStaleSeal where another key was
// promoted meanwhile.
func (r *resealer) batch(ctx context.Context, ring *seal.Ring) (n int, err error) {
	broken := map[string]int64{}
	err = r.store.Change(ctx, store.Actor{User: itself, Reason: "sealed anew with the key in use"}, func(tx *store.Tx) error {
		n = 0
		promoted, err := tx.SealingKey()
		if err != nil {
			return err
		}
		if promoted != ring.ID() {
			return store.ErrStaleSeal
		}
		q := store.Query{Where: []store.Cond{store.Ne("sealed_with", ""), store.Ne("sealed_with", ring.ID())}, Limit: resealBatch + len(r.broken)}
		for _, find := range resealable {
			objects, err := find(ctx, tx, q)
			if err != nil {
				return err
			}
			for _, o := range objects {
				if n == resealBatch {
					return nil
				}
				name, number := nameOf(o)
				if r.broken[name] == number {
					continue
				}
				if err := resealObject(ring, o); err != nil {
					broken[name] = number
					continue
				}
				if err := tx.UpdateAs(store.Resealed, o); err != nil {
					return err
				}
				n++
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for name, number := range broken {
		r.broken[name] = number
		r.log.Error("what is stored cannot be opened and stays as it is: store it again, or delete it", slog.String("object", name))
	}
	r.done += n
	return n, nil
}

// nameOf is what people know a sealed object by, and the number of its change.
func nameOf(o identity.Object) (name string, number int64) {
	switch o := o.(type) {
	case *identity.Model:
		return "model " + o.ID, o.ChangeNumber
	case *identity.Credential:
		return "credential " + o.Name, o.ChangeNumber
	case *identity.ConfigItem:
		return "section " + o.Name, o.ChangeNumber
	}
	panic(fmt.Sprintf("BUG: %s is never sealed", o.Kind()))
}

// resealObject opens what is sealed in an object and seals it with the ring.
func resealObject(ring *seal.Ring, o identity.Object) error {
	table := o.Kind().Table()
	switch o := o.(type) {
	case *identity.Model:
		params, err := resealFields(ring, table, o.ID, o.Params)
		o.Params, o.SealedWith = params, ring.ID()
		return err
	case *identity.ConfigItem:
		value, err := resealFields(ring, table, o.Name, o.Value)
		o.Value, o.SealedWith = value, ring.ID()
		return err
	case *identity.Credential:
		values := make(map[string]string, len(o.Values))
		for name, text := range o.Values {
			place := seal.Place(table, o.ID, name)
			plain, err := ring.Open(place, text)
			if err != nil {
				return err
			}
			if values[name], err = ring.Seal(place, plain); err != nil {
				return err
			}
		}
		o.Values, o.SealedWith = values, ring.ID()
		return nil
	}
	panic(fmt.Sprintf("BUG: %s is never sealed", o.Kind()))
}

func resealFields(ring *seal.Ring, table, key string, fields identity.Fields) (identity.Fields, error) {
	out := make(identity.Fields, len(fields))
	for name, value := range fields {
		plain, err := ring.OpenJSON(table, key, name, value)
		if err != nil {
			return nil, err
		}
		if out[name], err = ring.SealJSON(table, key, name, plain); err != nil {
			return nil, err
		}
	}
	return out, nil
}
