package store

import (
	"fmt"

	"sluice/proxy/identity"
)

// Rekey gives an object another key and writes all its columns; when and by
// whom it was created stays. Both keys get an audit row, so that whoever knows
// the object by either of them hears of it.
func (t *Tx) Rekey(a Action, was, is identity.Object) error {
	m := mapped(was.Kind())
	if m.kind != is.Kind() || m.id(was) == m.id(is) {
		return fmt.Errorf("%s %s: a new key of the same kind is needed", m.kind, m.id(was))
	}
	before, err := t.before(m, was)
	if err != nil {
		return err
	}
	if err := t.checkSeal(is, before); err != nil {
		return err
	}
	t.keep(m, was, is, before)
	with, err := t.takeWindows(m, was)
	if err != nil {
		return err
	}
	t.number++
	if err := t.deleteRow(m, was); err != nil {
		return err
	}
	if err := t.recordObject(a, m, was, before, nil); err != nil {
		return err
	}
	t.number++
	s := m.stampOf(is)
	*s = *m.stampOf(before)
	s.ChangeNumber, s.UpdatedAt, s.UpdatedBy = t.number, t.now, t.by.User
	if err := t.insertRow(m, is); err != nil {
		return err
	}
	if err := t.moveWindows(m, is, with); err != nil {
		return err
	}
	return t.recordObject(a, m, is, before, is)
}
