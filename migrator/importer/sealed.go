package importer

import (
	"context"
	"errors"
	"strings"

	"sluice/internal/env"
	"sluice/migrator/litellm"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// opener opens what LiteLLM has encrypted, with any of the keys that it may
// have been encrypted with.
type opener struct {
	rings []*seal.Ring
}

func newOpener(o Options) (*opener, error) {
	out := &opener{}
	var seen []env.Secret
	for _, salt := range o.OldSalt {
		if salt == "" || contains(seen, salt) {
			continue
		}
		seen = append(seen, salt)
		ring, err := seal.New(salt)
		if err != nil {
			return nil, refuse("a salt key of LiteLLM cannot be used: %w", err)
		}
		out.rings = append(out.rings, ring)
	}
	out.rings = append(out.rings, o.Ring)
	return out, nil
}

func contains(secrets []env.Secret, one env.Secret) bool {
	for _, s := range secrets {
		if s == one {
			return true
		}
	}
	return false
}

// errOtherKey says of a text no more than that.
var errOtherKey = errors.New("it is encrypted with another key")

// open is litellm.Converter's Open.
func (o *opener) open(text string) (plain string, sealed bool, err error) {
	if !seal.Sealed(text) {
		return text, false, nil
	}
	for _, ring := range o.rings {
		if plain, err := ring.Open("", text); err == nil {
			return plain, true, nil
		}
	}
	return "", true, errOtherKey
}

// tryKeys opens every encrypted value before anything is written: with a wrong
// salt key nothing is imported.
func (r *run) tryKeys(ctx context.Context) error {
	var first *litellm.SealedError
	failed := 0
	c := *r.c // which remembers what it has put out; this goes nowhere
	c.Sink = nowhere{}
	for i := range r.tables {
		t := &r.tables[i]
		if !t.Sealed || r.report.table(t.Name).Left != "" {
			continue
		}
		r.progress.start("trying the salt key: "+t.Name, 0, 0)
		err := r.read(ctx, t, nil, func(rows []row) error {
			for _, one := range rows {
				err := t.Convert(&c, one.doc)
				var sealed *litellm.SealedError
				switch {
				case errors.As(err, &sealed):
					failed++
					if first == nil {
						first = sealed
					}
				case err != nil:
					return refuse("%s %s: %w", t.Name, strings.Join(one.key, "/"), err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if failed == 0 || r.o.LeaveUnreadable {
		return nil
	}
	return refuse("%d rows of %s hold values that no key opens (%d values do open, %d are not encrypted), the first is %s, row %s, field %s: "+
		"set LITELLM_SALT_KEY to the one that LiteLLM ran with (its master key where it had none), or SLUICE_IMPORT_SALT_KEY where it differs from the one of here; --leave-unreadable leaves such rows out",
		failed, r.src.name, c.Opened, c.Plain, first.Table, first.ID, first.Field)
}

// countSealed brings the report's count up to date. sealed is what the goes
// before this one counted.
func (r *run) countSealed() {
	r.report.Sealed = Sealed{Opened: r.sealed.Opened + r.c.Opened, Plain: r.sealed.Plain + r.c.Plain, Failed: r.sealed.Failed + r.c.Broken}
}

// nowhere is a sink for what is only tried.
type nowhere struct{}

var _ litellm.Sink = nowhere{}

// Object is part of litellm.Sink.
func (nowhere) Object(identity.Object) error { return nil }

// Document is part of litellm.Sink.
func (nowhere) Document(string, string, []byte) error { return nil }

// Daily is part of litellm.Sink.
func (nowhere) Daily(store.DailySpend) error { return nil }

// Window is part of litellm.Sink.
func (nowhere) Window(store.BudgetWindow) error { return nil }

// SpendLog is part of litellm.Sink.
func (nowhere) SpendLog(store.SpendLog) error { return nil }

// Skip is part of litellm.Sink.
func (nowhere) Skip(string, string, string) {}

// Report is part of litellm.Sink.
func (nowhere) Report(string, string, string) {}
