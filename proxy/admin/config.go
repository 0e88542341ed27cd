package admin

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// configHandlers are the handlers of proxy/access/config.go.
func configHandlers() map[string]handler {
	return map[string]handler{
		"GET /config/list":          (*API).listSettings,
		"GET /config/field/info":    (*API).showSetting,
		"POST /config/field/update": (*API).updateSetting,
		"POST /config/field/delete": (*API).deleteSetting,
		"POST /config/update":       (*API).updateConfig,
		"GET /config/yaml":          (*API).showConfig,
	}
}

// generalSettings is the one section whose settings are set one by one.
const generalSettings = "general_settings"

// configRow is a section as changes of it are answered.
type configRow struct {
	Name     string          `json:"param_name"`
	Value    identity.Fields `json:"param_value"`
	LastRun  *isoZ           `json:"last_run_at"`
	Revision int             `json:"reload_revision"`
}

// settingShape is a setting as the list shows it.
type settingShape struct {
	Name     string          `json:"field_name"`
	Type     string          `json:"field_type"`
	Summary  string          `json:"field_description"`
	Value    json.RawMessage `json:"field_value"`
	Stored   *bool           `json:"stored_in_db"`
	Default  *string         `json:"field_default_value"`
	Premium  bool            `json:"premium_field"`
	Subfield json.RawMessage `json:"nested_fields"`
}

// listSettings lists what there is to set, what is in force, and where it stands:
// in the database, in the file (false) or nowhere (null).
func (a *API) listSettings(c *Call) (any, *llm.Error) {
	section := c.Arg("config_type")
	item, e := a.section(c, a.c.Store, section)
	if e != nil {
		return nil, e
	}
	out := []settingShape{}
	if a.c.Models.Catalog == nil {
		return out, nil
	}
	for _, s := range a.c.Models.Catalog.Settings(section) {
		shape := settingShape{Name: s.Name, Type: s.Type, Summary: s.Summary, Default: null(s.Default)}
		stored, inDatabase := item.Value[s.Name]
		switch {
		case secretField(s.Name):
		case inDatabase:
			shape.Value = shownValue(stored)
		case s.Value != nil:
			shape.Value = shownValue(s.Value)
		}
		if inDatabase || s.Value != nil {
			shape.Stored = &inDatabase
		}
		out = append(out, shape)
	}
	return out, nil
}

// section reads what the database has of a section; an empty one where it has
// nothing.
func (a *API) section(c *Call, r store.Reader, name string) (*identity.ConfigItem, *llm.Error) {
	item, err := store.Get[identity.ConfigItem](c.Ctx, r, name)
	if missing(err) {
		return &identity.ConfigItem{Name: name, Value: identity.Fields{}}, nil
	}
	return item, a.failed(err)
}

func (a *API) showSetting(c *Call) (any, *llm.Error) {
	name := c.Arg("field_name")
	item, e := a.section(c, a.c.Store, generalSettings)
	if e != nil {
		return nil, e
	}
	value, ok := item.Value[name]
	if !ok || secretField(name) {
		return nil, detailError(400, "Field name="+name+" is not set")
	}
	return struct {
		Name  string          `json:"field_name"`
		Value json.RawMessage `json:"field_value"`
	}{name, shownValue(value)}, nil
}

func (a *API) updateSetting(c *Call) (any, *llm.Error) {
	section, name := c.Body.Text("config_type"), c.Body.Text("field_name")
	return a.reviseSection(c, section, func(value identity.Fields) *llm.Error {
		if c.Body.Null("field_value") {
			return badRequest("field_value is null. Send a value, or take the setting away with /config/field/delete.", "field_value")
		}
		value[name] = c.Body["field_value"]
		return allowedSetting(section, name, c.Body["field_value"])
	})
}

func (a *API) deleteSetting(c *Call) (any, *llm.Error) {
	section, name := c.Body.Text("config_type"), c.Body.Text("field_name")
	return a.reviseSection(c, section, func(value identity.Fields) *llm.Error {
		if _, ok := value[name]; !ok {
			return detailError(400, "Field name="+name+" is not in the database. What the configuration file sets is changed there.")
		}
		delete(value, name)
		return nil
	})
}

// reviseSection changes one section and answers with it.
func (a *API) reviseSection(c *Call, section string, edit func(value identity.Fields) *llm.Error) (any, *llm.Error) {
	if e := a.stores(); e != nil {
		return nil, e
	}
	var row configRow
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		item, e := a.editSection(c, tx, section, edit)
		row = configRow{Name: section, Value: item}
		return e
	})
	if e != nil {
		return nil, e
	}
	return row, nil
}

// editSection changes one section: it is judged as a whole before it is written,
// as the file would be.
func (a *API) editSection(c *Call, tx *store.Tx, section string, edit func(value identity.Fields) *llm.Error) (identity.Fields, *llm.Error) {
	item, e := a.section(c, tx, section)
	if e != nil {
		return nil, e
	}
	isNew := item.ChangeNumber == 0
	before := maps.Clone(item.Value)
	item.Value = object(item.Value)
	if e := edit(item.Value); e != nil {
		return nil, e
	}
	if maps.EqualFunc(before, item.Value, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		return item.Value, nil // nothing changes: no workers read it again
	}
	if a.c.Models.Catalog != nil {
		if e := invalid(a.c.Models.Catalog.CheckConfig(section, item.Value)); e != nil {
			return nil, e
		}
	}
	if isNew {
		return item.Value, a.failed(tx.Insert(item))
	}
	return item.Value, a.failed(tx.Update(item))
}

// processSettings are read once, before there is a database to read them from.
var processSettings = []string{"store_model_in_db", "supported_db_objects", "salt_key", "database_type", "database_extra_connection_params"}

// allowedSetting refuses what must not come over the API: secrets, which stand in
// the file or the environment, and ways to read the environment.
func allowedSetting(section, name string, value json.RawMessage) *llm.Error {
	field := section + "." + name
	switch {
	case slices.Contains(processSettings, name) || strings.HasPrefix(name, "database_"):
		return badRequest(field+" cannot be set over the API: it says which database is used, and how. Set it in the configuration file.", field)
	case secretField(name):
		return secretSetting(field)
	case namesEnvironment(value):
		return badRequest(field+" names a variable of the environment, which is possible in the configuration file alone. Send the value itself.", field)
	}
	if at := secretAt(field, name, value); at != "" {
		return secretSetting(at)
	}
	return nil
}

func secretSetting(field string) *llm.Error {
	return badRequest(field+" is a secret, and secrets of the configuration cannot be set over the API. Set it in the configuration file or the environment.", field)
}

// updateConfig changes several sections at once, or none of them.
func (a *API) updateConfig(c *Call) (any, *llm.Error) {
	if c.Body.Given("model_list") {
		return nil, badRequest("model_list cannot be set over the API. Add models with POST /model/new.", "model_list")
	}
	if e := a.stores(); e != nil {
		return nil, e
	}
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		for _, section := range []string{generalSettings, "litellm_settings", "router_settings"} {
			settings := c.Body.Fields(section)
			if len(settings) == 0 {
				continue
			}
			_, e := a.editSection(c, tx, section, func(value identity.Fields) *llm.Error {
				for _, name := range slices.Sorted(maps.Keys(settings)) {
					if string(settings[name]) == "null" {
						delete(value, name)
						continue
					}
					if e := allowedSetting(section, name, settings[name]); e != nil {
						return e
					}
					value[name] = settings[name]
				}
				return nil
			})
			if e != nil {
				return e
			}
		}
		if vars := c.Body.Fields(variableSection); len(vars) > 0 {
			return a.editVariables(c, tx, vars)
		}
		return nil
	})
	if e != nil {
		return nil, e
	}
	return map[string]string{"message": "Config updated successfully"}, nil
}

// showConfig is the configuration in force as YAML.
func (a *API) showConfig(*Call) (any, *llm.Error) {
	if a.c.Models.Catalog == nil {
		return nil, notFound("The configuration in force is not known here.", "")
	}
	return Reply{Status: 200, Type: "application/yaml; charset=utf-8", Body: []byte(a.c.Models.Catalog.Masked())}, nil
}
