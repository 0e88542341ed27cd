package admin

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// variableSection is the section of the database that keeps variables, sealed.
// They never become variables of the process: models and credentials of the
// database find them where they name one as os.environ/NAME, behind those of the
// process.
const variableSection = "environment_variables"

// editVariables stores variables over those that are there; null takes one away.
func (a *API) editVariables(c *Call, tx *store.Tx, vars identity.Fields) *llm.Error {
	texts := make(identity.Fields, len(vars))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		text, e := variable(name, vars[name])
		if e != nil {
			return e
		}
		texts[name] = text
	}
	if a.c.Models.Catalog != nil {
		if e := invalid(a.c.Models.Catalog.CheckConfig(variableSection, texts)); e != nil {
			return e
		}
	}
	item, e := a.section(c, tx, variableSection)
	if e != nil {
		return e
	}
	ring := a.ring()
	if ring == nil {
		return noKey(nil)
	}
	table, old := item.Kind().Table(), identity.Fields{}
	for name, sealed := range item.Value {
		plain, err := ring.OpenJSON(table, item.Name, name, sealed)
		if _, over := vars[name]; err != nil && !over {
			return &llm.Error{
				Kind: llm.KindInternal, Status: 500, Type: "internal_server_error", Err: err,
				Message: "The variable " + name + " in the database cannot be opened: it was sealed with another salt key, or changed there. Send it " +
					"again, or null to take it away.",
			}
		}
		old[name] = plain
	}
	is := overlaid(old, texts, true)
	if maps.EqualFunc(old, is, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		return nil // nothing changes: no workers read it again
	}
	sealed := make(identity.Fields, len(is))
	for name, text := range is {
		if was := old[name]; item.SealedWith == ring.ID() && bytes.Equal(was, text) {
			sealed[name] = item.Value[name]
			continue
		}
		s, err := ring.SealJSON(table, item.Name, name, text)
		if err != nil {
			return a.failed(err)
		}
		sealed[name] = s
	}
	isNew := item.ChangeNumber == 0
	item.Value, item.SealedWith = sealed, ring.ID()
	if isNew {
		return a.failed(tx.Insert(item))
	}
	return a.failed(tx.Update(item))
}

// variable checks a variable of a body, and makes its value a text.
func variable(name string, value json.RawMessage) (json.RawMessage, *llm.Error) {
	field := variableSection + "." + name
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return nil, badRequest("environment_variables has a name that no variable can have. Send names of letters, digits and \"_\".", variableSection)
		}
	}
	if name == "" || len(name) > 128 {
		return nil, badRequest("environment_variables has a name that is empty or longer than 128 characters.", variableSection)
	}
	switch value = bytes.TrimSpace(value); {
	case bytes.Equal(value, nothing):
		return nothing, nil
	case len(value) == 0 || value[0] == '{' || value[0] == '[':
		return nil, badRequest(field+" is no text. Send a text, or null to take the variable away.", field)
	case value[0] != '"':
		value = quoted(string(value))
	}
	if namesEnvironment(value) {
		return nil, badRequest(field+" names a variable of the environment, which is possible in the configuration file alone. Send the value itself.", field)
	}
	return value, nil
}
