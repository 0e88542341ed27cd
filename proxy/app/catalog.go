package app

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"sluice/proxy/admin"
	"sluice/proxy/config"
	"sluice/proxy/identity"
	"sluice/proxy/provider"
)

// catalog is what the management API knows of one configuration.
type catalog struct {
	w           *worker
	file        *config.File
	deployments func() []admin.Deployment // made when they are asked for first
}

var _ admin.Catalog = (*catalog)(nil)

func newCatalog(w *worker, file *config.File) *catalog {
	c := &catalog{w: w, file: file}
	c.deployments = sync.OnceValue(c.list)
	return c
}

// Deployments are those of the file and of the database, as they were given.
func (c *catalog) Deployments() []admin.Deployment { return c.deployments() }

func (c *catalog) list() []admin.Deployment {
	out := make([]admin.Deployment, len(c.file.Models))
	for i, d := range c.file.Models {
		p := model(c.file, d).Params
		out[i] = admin.Deployment{
			ID: d.ID, Name: d.Name, Params: object(d.Given()), Info: object(d.Info.All),
			TeamID: d.Info.TeamID, Blocked: d.Info.Blocked, DB: d.Stored,
		}
		if t, err := provider.Bind(p, c.file.Variable); err == nil {
			out[i].Provider, out[i].Model = t.Provider, t.Model
		} else if prefix, name, ok := strings.Cut(p.Model, "/"); ok { // nobody serves it
			out[i].Provider, out[i].Model = prefix, name
		} else {
			out[i].Model = p.Model
		}
	}
	return out
}

// Means says whether a name stands for a model that serves everybody, for one
// that a pattern of it meets, for an alias or for an access group.
func (c *catalog) Means(name string) bool {
	for _, a := range c.file.Router.Aliases {
		if a.Name == name {
			return true
		}
	}
	if _, alias := c.file.LiteLLM.ModelAliases[name]; alias {
		return true
	}
	for _, d := range c.file.Models {
		if slices.Contains(d.Info.AccessGroups, name) {
			return true
		}
		begin, end := d.Name, d.Name
		if star := strings.IndexByte(d.Name, '*'); star >= 0 {
			begin, end = d.Name[:star], d.Name[strings.LastIndexByte(d.Name, '*')+1:]
		} else if d.Name != name {
			continue
		}
		if d.Info.TeamID == "" && strings.HasPrefix(name, begin) && strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

func object(fields []config.Field) identity.Fields {
	out := make(identity.Fields, len(fields))
	for _, f := range fields {
		out[f.Name] = f.JSON
	}
	return out
}

// Check reads a deployment as it would be read from the database, and makes a
// gateway of it alone.
func (c *catalog) Check(name string, params, info identity.Fields) error {
	m := config.OverlayModel{ID: "new", Name: name, Params: config.Objects(params), Info: config.Objects(info)}
	d, problem := c.file.CheckModel(m)
	if problem != nil {
		return fieldError(problem)
	}
	err := servable(model(c.file, d).Params, c.file)
	if err == nil && d.Name != "*" {
		err = c.w.tried(c.file, d)
	}
	if err != nil {
		return &admin.FieldError{Field: "litellm_params", Problem: "cannot be served: " + err.Error()}
	}
	return nil
}

func fieldError(p *config.Problem) error {
	return &admin.FieldError{Field: p.Key, Problem: p.Text, Allowed: p.Allowed}
}

// CheckConfig reads a section as it would be read from the database.
func (c *catalog) CheckConfig(section string, settings identity.Fields) error {
	if section == config.EnvironmentVariables {
		for name := range settings {
			if config.OwnVariable(name) {
				return &admin.FieldError{Field: section + "." + name, Problem: "is a variable of the gateway itself or of its databases: set it where the gateway is started"}
			}
		}
		return nil
	}
	for name, v := range settings {
		if p := c.file.CheckSetting(section, name, v); p != nil {
			return fieldError(p)
		}
	}
	return nil
}

// Settings are the settings of a section that the API may change.
func (c *catalog) Settings(section string) []admin.Setting {
	all := c.file.Settings(section)
	out := make([]admin.Setting, len(all))
	for i, s := range all {
		out[i] = admin.Setting{Name: s.Name, Type: typeOf(s.Kind), Summary: s.Doc, Default: s.Default, Value: json.RawMessage(s.Value)}
		if s.Use != config.Used && s.Use != config.Never {
			out[i].Summary = strings.TrimPrefix(s.Doc+" (no effect in this release)", " ")
		}
	}
	return out
}

// typeOf is how LiteLLM's list of settings names what a setting holds.
func typeOf(k config.Kind) string {
	switch k {
	case config.Bool:
		return "Boolean"
	case config.Int:
		return "Integer"
	case config.Number, config.Amount, config.Seconds, config.Megabyte:
		return "Float"
	case config.Texts, config.Numbers, config.List:
		return "List"
	case config.Map:
		return "Dictionary"
	default:
		return "String"
	}
}

// Credentials are those of the file.
func (c *catalog) Credentials() []admin.FileCredential {
	all := c.file.Credentials()
	out := make([]admin.FileCredential, len(all))
	for i, f := range all {
		for name, v := range f.Values {
			if v == "" {
				f.Values[name] = admin.Masked
			}
		}
		out[i] = admin.FileCredential{Name: f.Name, Values: f.Values, Info: identity.Fields(f.Info)}
	}
	return out
}

// Masked is the configuration in force without its secrets.
func (c *catalog) Masked() string { return c.file.Masked() }
