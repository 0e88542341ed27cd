// Package audit checks the record of changes against its chain of codes, moves
// its oldest rows to files that still verify, and writes it out. Rows are
// streamed: the memory that it takes does not depend on their number.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"sluice/proxy/chain"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// Errors that an operator acts on.
var (
	ErrInput = errors.New("the command cannot be done so")         // what was given is wrong
	ErrBusy  = errors.New("another process is at the same record") // trying again helps
)

// inputError is an ErrInput whose text says everything itself.
type inputError struct{ text string }

func (e *inputError) Error() string { return e.text }

// Is makes it ErrInput.
func (*inputError) Is(target error) bool { return target == ErrInput }

func wrong(format string, args ...any) error { return &inputError{fmt.Sprintf(format, args...)} }

// Options say what is verified or moved, and with what.
type Options struct {
	Store   *store.Store // nil: files alone
	Ring    *seal.Ring
	Anchors []string // files of heads
	Files   []string // archives
	Log     *slog.Logger
}

// keys finds chain keys: those of the ring, else those that the database keeps
// of keys that the ring does not have any more.
func (o *Options) keys(ctx context.Context) (func(id string) ([32]byte, bool), error) {
	kept := map[string][32]byte{}
	if o.Store != nil {
		all, err := o.Store.SealingKeys(ctx)
		if err != nil {
			return nil, err
		}
		for i := range all {
			if err := o.keep(&all[i], kept); err != nil {
				return nil, err
			}
		}
	}
	return func(id string) ([32]byte, bool) {
		if key, ok := o.Ring.KeyOf(id, chain.Purpose); ok {
			return key, true
		}
		key, ok := kept[id]
		return key, ok
	}, nil
}

// keep adds what the database keeps of a key that the ring does not have. A key
// of the ring has to be the one that the database knows by its id.
func (o *Options) keep(k *store.SealingKey, kept map[string][32]byte) error {
	if o.Ring.Has(k.ID) {
		if err := o.Ring.IsOf(k.ID, k.Check); err != nil && k.Check != "" {
			return wrong("key %s of the ring is not the one that this database knows by this id: %s; give the keyring of the gateway", k.ID, err)
		}
		return nil
	}
	if k.AuditKey == "" {
		return nil
	}
	key, err := o.Ring.KeptAudit(k.ID, k.AuditKey)
	if err != nil { // its rows, if there are any, are told as not verified
		o.Log.Warn("the kept chain key of a sealing key cannot be opened", slog.String("key_id", k.ID),
			slog.String("sealed_with", k.SealedWith), slog.Any("error", err))
		return nil
	}
	kept[k.ID] = key
	return nil
}

// Keys lists ids of keys with their rows: "2025a (14 rows), 2026a (3 rows)".
func Keys(rows map[string]int64) string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		name := id
		if name == "" {
			name = "no key"
		}
		out = append(out, fmt.Sprintf("%s (%s)", name, count(rows[id])))
	}
	return strings.Join(out, ", ")
}

func count(rows int64) string {
	if rows == 1 {
		return "1 row"
	}
	return fmt.Sprintf("%d rows", rows)
}
