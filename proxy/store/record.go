package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"sluice/proxy/chain"
	"sluice/proxy/identity"
)

// Note writes an audit row about what is no object: a key that secrets are
// sealed with, a batch of an import. It takes a number of its own, and whoever
// follows the changes is told. before and after are written as JSON; nil is
// nothing. The caller sees to it that they hold no secret.
func (t *Tx) Note(a Action, kind identity.Kind, id string, before, after any) error {
	was, err := noted(before)
	if err != nil {
		return err
	}
	is, err := noted(after)
	if err != nil {
		return err
	}
	t.number++
	if t.owed == t.number {
		t.owed = 0
	}
	return t.record(a, kind, id, was, is)
}

func noted(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write a note: %w", err)
	}
	return text, checkDocument("note", string(text))
}

// recordObject writes the audit row of a change of an object.
func (t *Tx) recordObject(a Action, m *mapping, o, before, after identity.Object) error {
	was, err := m.document(before)
	if err != nil {
		return err
	}
	is, err := m.document(after)
	if err != nil {
		return err
	}
	return t.record(a, m.kind, m.id(o), was, is)
}

// record writes the audit row of the change t.number. What it cannot chain it
// refuses: a change that cannot be audited does not happen.
func (t *Tx) record(a Action, kind identity.Kind, id string, before, after []byte) error {
	if t.owed != 0 {
		return fmt.Errorf("BUG: %s %s is changed between Take and its Note", kind, id)
	}
	r := chain.Row{
		Number: t.number, At: t.now, Actor: t.by.User, ActorKey: t.by.Key, ClaimedActor: t.by.Claimed, Action: string(a),
		ObjectType: kind.String(), ObjectID: id, Before: before, After: after,
		Source: t.by.Source, RequestID: t.by.RequestID, Host: t.s.c.Host, Reason: t.by.Reason,
	}
	for _, c := range [...]struct{ name, text string }{
		{"actor", r.Actor},
		{"actor_key", r.ActorKey},
		{"claimed_actor", r.ClaimedActor},
		{"source", r.Source},
		{"request_id", r.RequestID},
		{"host", r.Host},
		{"reason", r.Reason},
	} {
		if err := checkText(c.name, c.text); err != nil {
			return err
		}
	}
	if err := t.link(&r); err != nil {
		return err
	}
	d := t.tx.dialect()
	_, err := t.tx.exec(t.ctx, `INSERT INTO sluice.changes
		(number, at, actor, actor_key, claimed_actor, action, object_type, object_id, before_value, after_value,
			source, request_id, host, reason, chain_key, chain_mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		[]any{
			r.Number, d.time(r.At), r.Actor, r.ActorKey, r.ClaimedActor, r.Action, r.ObjectType, r.ObjectID,
			jsonArgument(before), jsonArgument(after), r.Source, r.RequestID, r.Host, r.Reason, r.Key, r.MAC,
		})
	if err != nil {
		return fmt.Errorf("record the change: %w", err)
	}
	t.done = append(t.done, Changed{Number: t.number, Kind: kind, ID: id})
	return nil
}

// jsonArgument is a document as both databases take it to the letter.
func jsonArgument(text []byte) any {
	if text == nil {
		return nil
	}
	return string(text)
}

// document is an object as the record of changes keeps it, by column; nil for
// no object. Secrets are digests.
func (m *mapping) document(o identity.Object) ([]byte, error) {
	if o == nil {
		return nil, nil
	}
	doc := make(map[string]any, len(m.columns))
	for _, c := range m.columns {
		if c.name == "change_number" {
			continue
		}
		v, err := c.value(dialect{}, o)
		if err != nil {
			return nil, err
		}
		switch {
		case secret(m.kind, c.name):
			v = digestOf(v)
		case c.json:
			v = json.RawMessage(v.(string))
		}
		doc[c.name] = v
	}
	if item, ok := o.(*identity.ConfigItem); ok && (item.SealedWith != "" || item.Name == "environment_variables") {
		doc["param_value"] = digests(item.Value)
	}
	return json.Marshal(doc)
}

// secret says which columns are never written into a record.
func secret(k identity.Kind, column string) bool {
	switch k {
	case identity.KindUser:
		return column == "password"
	case identity.KindModel:
		return column == "params"
	case identity.KindCredential:
		return column == "credential_values"
	default:
		return false
	}
}

// digests stand for the values of a section: its names may be seen.
func digests(values identity.Fields) map[string]any {
	out := make(map[string]any, len(values))
	for name, v := range values {
		out[name] = digestOf(string(v))
	}
	return out
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
