package store

import (
	"encoding/json"
	"reflect"
	"strings"

	"sluice/proxy/identity"
)

// sameJSON says whether two documents mean the same. The database may have
// written numbers and names in another way.
func sameJSON(a, b any) bool {
	var v [2]any
	for i, text := range []any{a, b} {
		s, _ := text.(string)
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		if d.Decode(&v[i]) != nil {
			return false
		}
	}
	return reflect.DeepEqual(v[0], v[1])
}

// lookParents refuses members of what is not here.
func (t *Tx) lookParents(m *mapping, all []*taking) error {
	var parent identity.Kind
	switch m.kind {
	case identity.KindMember:
		parent = identity.KindTeam
	case identity.KindOrganizationMember:
		parent = identity.KindOrganization
	default:
		return nil
	}
	column := mapped(parent).keys[0].name
	at := m.indexOf(column)
	ids := make([]string, len(all))
	for i, x := range all {
		ids[i] = x.values[at].(string)
	}
	b := &builder{d: t.tx.dialect()}
	b.add("SELECT ", column, " FROM ", table(parent), " WHERE ", column)
	if err := b.among(ids); err != nil {
		return err
	}
	here := map[string]bool{}
	err := t.tx.query(t.ctx, b.text.String(), b.args, func(scan func(...any) error) error {
		var id string
		err := scan(&id)
		here[id] = true
		return err
	})
	for i, x := range all {
		if !here[ids[i]] && x.written() {
			x.refused = "its " + parent.String() + " is not here"
		}
	}
	return err
}

// uniques are the columns, besides the key, whose values are there once.
var uniques = map[identity.Kind][]string{
	identity.KindUser:        {"sso_user_id"},
	identity.KindCredential:  {"credential_name"},
	identity.KindAccessGroup: {"access_group_name"},
	identity.KindJWTMapping:  {"jwt_issuer", "jwt_claim_name", "jwt_claim_value"},
}

// lookUnique refuses objects with a value that another object has, here or
// earlier in the batch: a statement that met one would end the transaction.
func (t *Tx) lookUnique(m *mapping, all []*taking) error {
	columns := uniques[m.kind]
	if columns == nil {
		return nil
	}
	wanted := &bulk{}
	for _, c := range columns {
		wanted.names, wanted.sorts = append(wanted.names, c), append(wanted.sorts, asText)
	}
	value := func(x *taking) string {
		var b []byte
		for _, c := range columns {
			v := x.values[m.indexOf(c)]
			if v == nil {
				return "" // NULL is no value
			}
			b = appendValue(b, v)
		}
		return string(b)
	}
	for _, x := range all {
		if x.written() && value(x) != "" {
			row := make([]any, len(columns))
			for i, c := range columns {
				row[i] = x.values[m.indexOf(c)]
			}
			wanted.rows = append(wanted.rows, row)
		}
	}
	if len(wanted.rows) == 0 {
		return nil
	}
	owners, err := t.owners(m, wanted)
	if err != nil {
		return err
	}
	key := m.indexOf(m.keys[0].name)
	for _, x := range all {
		v := value(x)
		if v == "" || !x.written() {
			continue
		}
		id := x.values[key].(string)
		if owner, ok := owners[v]; ok && owner != id {
			x.refused = strings.Join(columns, ", ") + ": another " + m.kind.String() + " has the same"
			continue
		}
		owners[v] = id
	}
	return nil
}

// owners are the keys of the rows that have the wanted values.
func (t *Tx) owners(m *mapping, wanted *bulk) (map[string]string, error) {
	source, args, err := wanted.source(t.tx.dialect(), nil)
	if err != nil {
		return nil, err
	}
	var on []string
	statement := "SELECT o." + m.keys[0].name
	for _, c := range wanted.names {
		statement += ", o." + c
		on = append(on, "o."+c+" = v."+c)
	}
	statement += " FROM " + source + " JOIN " + table(m.kind) + " o ON " + strings.Join(on, " AND ")
	out := map[string]string{}
	err = t.tx.query(t.ctx, statement, args, func(scan func(...any) error) error {
		texts := make([]string, len(wanted.names)+1)
		dest := make([]any, len(texts))
		for i := range texts {
			dest[i] = &texts[i]
		}
		err := scan(dest...)
		var b []byte
		for _, v := range texts[1:] {
			b = appendValue(b, v)
		}
		out[string(b)] = texts[0]
		return err
	})
	return out, err
}
