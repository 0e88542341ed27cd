package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Database is the file that positions name where a value came from the
// database.
const Database = "database"

// Overlay is what the database holds beside the file. Its strings are open:
// whoever makes it has unsealed them. Nothing of it can keep the file from being
// served: what is wrong is left out with a warning, because whoever may store a
// model may not take the gateway down.
type Overlay struct {
	Models      []OverlayModel
	Credentials []OverlayCredential
	// Sections are laid over those of the file, key by key: general_settings,
	// litellm_settings, router_settings.
	Sections map[string]Objects
	// Environment are the variables that the API stored. They stand behind those
	// of the process, for models and credentials of the database alone, and never
	// become variables of the process.
	Environment map[string]string
}

// EnvironmentVariables is the section of the database that holds Environment.
const EnvironmentVariables = "environment_variables"

// OverlayModel is a deployment that the API made.
type OverlayModel struct {
	ID      string
	Name    string
	TeamID  string
	Blocked bool
	Params  Objects // litellm_params
	Info    Objects // model_info
}

// OverlayCredential is a credential that the API made. It takes the place of
// one of the file with the same name.
type OverlayCredential struct {
	Name   string
	Values map[string]string
}

// overlaidSections may be changed by the API, in this order.
var overlaidSections = []string{"general_settings", "litellm_settings", "router_settings"}

// fixed says why a setting cannot come from the database; "" where it can.
func fixed(section, name string) string {
	switch {
	case section == "general_settings" && name == "master_key":
		return "the master key is set in the file or in LITELLM_MASTER_KEY"
	case section == "general_settings" && (strings.HasPrefix(name, "database_") || name == "disable_prisma_schema_update"),
		section == "router_settings" && strings.HasPrefix(name, "redis_"):
		return "connections are set in the file or in the environment"
	case section == "general_settings" && (name == "store_model_in_db" || name == "supported_db_objects"):
		return "what is taken from the database is set in the file or in STORE_MODEL_IN_DB"
	}
	return ""
}

// storesModels reads store_model_in_db ahead of the section: nothing that the
// database holds can change it.
func (f *File) storesModels() bool {
	if v := f.root.get("general_settings").get("store_model_in_db"); v != nil {
		on, _ := asBool(v)
		return on
	}
	on, _ := f.Environ.Bool("STORE_MODEL_IN_DB", false)
	return on
}

// overlaySections lays the sections of the database over those of the file.
func (f *File) overlaySections(r *report, o *Overlay) {
	if o == nil {
		return
	}
	for _, section := range overlaidSections {
		values := o.Sections[section]
		for _, name := range slices.Sorted(maps.Keys(values)) {
			root, problems := f.trySetting(newReport(false), section, name, values[name])
			for _, p := range problems {
				r.add(min(p.Severity, Warning), p.At, p.Key, p.Text+leftOut(p.Severity), p.Allowed)
			}
			if !problems.Failed() {
				f.root = root
			}
		}
	}
}

// variables notes which hold keys of providers, and takes those that the API
// stored.
func (f *File) variables(src Source) {
	if src.Overlay != nil {
		f.stored = src.Overlay.Environment
	}
	f.keys = map[string]bool{}
	for _, p := range src.Providers {
		for _, name := range p.Keys {
			f.keys[name] = true
		}
	}
}

func leftOut(s Severity) string {
	if s == Error {
		return "; it is left out"
	}
	return ""
}

// trySetting returns the file's tree with one more setting, and what is wrong
// with that.
func (f *File) trySetting(r *report, section, name string, json []byte) (*value, Problems) {
	at, path := Pos{File: Database}, join(section, name)
	if !slices.Contains(overlaidSections, section) {
		r.errorf(at, section, strings.Join(overlaidSections, ", "), "no such section can be changed")
		return nil, r.list
	}
	if why := fixed(section, name); why != "" {
		r.errorf(at, path, "", "cannot be changed here: %s", why)
		return nil, r.list
	}
	v, err := valueOf(json, nil)
	if err != nil {
		r.errorf(at, path, "", "cannot be read: %v", err)
		return nil, r.list
	}
	root := f.root.with(section, func(s *value) *value {
		return s.with(name, func(*value) *value { return v })
	})
	probe := &File{Environ: f.Environ, root: root}
	probe.settings(r, root)
	var ours Problems
	for _, p := range r.list {
		if p.At.File == Database {
			ours = append(ours, p)
		}
	}
	return root, ours
}

// with returns a copy of a map in which one entry is what change makes of it.
// change gets an empty map where there is none.
func (v *value) with(name string, change func(*value) *value) *value {
	out := &value{is: mapping, at: v.at}
	old, at := &value{is: mapping, at: Pos{File: Database}}, Pos{File: Database}
	for _, e := range v.entries {
		switch {
		case e.name != name:
			out.entries = append(out.entries, e)
		case e.value.is == mapping:
			old = e.value
		}
	}
	out.entries = append(out.entries, entry{name, at, change(old)})
	return out
}

// overlayCredentials adds the credentials of the database to those of the file.
func (f *File) overlayCredentials(into map[string]*value, o *Overlay) {
	if o == nil {
		return
	}
	for _, c := range o.Credentials {
		v := &value{is: mapping, at: Pos{File: Database}}
		for _, name := range slices.Sorted(maps.Keys(c.Values)) {
			one := &value{is: text, text: c.Values[name], at: v.at}
			f.refer(one)
			v.entries = append(v.entries, entry{name, v.at, one})
		}
		into[c.Name] = v
	}
}

// overlayModels adds the deployments of the database.
func (f *File) overlayModels(r *report, o *Overlay, credentials map[string]*value) {
	if o == nil || !f.General.Stored("models") {
		return
	}
	taken := map[string]bool{}
	for _, d := range f.Models {
		taken[d.ID] = true
	}
	for i := range o.Models {
		m := &o.Models[i]
		found, problems := f.overlayModel(m, credentials)
		for _, p := range problems {
			r.add(min(p.Severity, Warning), p.At, p.Key, p.Text, p.Allowed)
		}
		if problems.Failed() {
			r.warnf(Pos{File: Database}, m.path(), "left out")
			continue
		}
		for _, d := range found {
			if taken[d.ID] {
				r.warnf(d.At, m.path(), "the file has a deployment with this id; left out")
				continue
			}
			taken[d.ID] = true
			f.Models = append(f.Models, d)
		}
	}
}

func (m *OverlayModel) path() string { return join("models", m.ID) }

// overlayModel reads one deployment as an entry of model_list is read.
func (f *File) overlayModel(m *OverlayModel, credentials map[string]*value) ([]*Deployment, Problems) {
	r := newReport(false)
	at := Pos{File: Database}
	item := &value{is: mapping, at: at, entries: []entry{{"model_name", at, &value{is: text, text: m.Name, at: at}}}}
	for _, part := range []struct {
		name string
		from Objects
	}{{"litellm_params", m.Params}, {"model_info", m.Info}} {
		v := &value{is: mapping, at: at}
		for _, name := range slices.Sorted(maps.Keys(part.from)) {
			refer := f.refer
			if part.name == "model_info" || m.TeamID != "" || m.Info["team_id"] != nil {
				refer = nil // whoever manages a team must not read our environment
			}
			one, err := valueOf(part.from[name], refer)
			if err != nil {
				r.errorf(at, join(m.path(), part.name+"."+name), "", "cannot be read: %v", err)
				continue
			}
			v.entries = append(v.entries, entry{name, at, one})
		}
		item.entries = append(item.entries, entry{part.name, at, v})
	}
	found := f.deployment(r, m.path(), item, credentials)
	for i, d := range found {
		d.Stored = true
		d.Info.ID, d.ID = m.ID, m.ID
		if i > 0 {
			d.ID = fmt.Sprintf("%s-%d", m.ID, i+1)
		}
		d.Info.Blocked = d.Info.Blocked || m.Blocked
		if m.TeamID != "" {
			d.Info.TeamID = m.TeamID
		}
	}
	return found, r.list
}

// CheckModel reads a deployment as it would be read from the database. Without
// one, the problem says why.
func (f *File) CheckModel(m OverlayModel) (*Deployment, *Problem) {
	found, problems := f.overlayModel(&m, f.credentials)
	if failed := problems.Of(Error); len(failed) > 0 {
		return nil, failed[0].within(m.path())
	}
	if len(found) > 0 {
		return found[0], nil
	}
	for _, p := range problems.Of(Warning) { // it is left out, and this says why
		return nil, p.within(m.path())
	}
	return nil, &Problem{Severity: Error, Key: "model_info.supported_environments", Text: "does not name this environment"}
}

// CheckSetting says what is wrong with a setting before it is stored; nil for
// nothing. One that is not known is wrong.
func (f *File) CheckSetting(section, name string, json []byte) *Problem {
	_, problems := f.trySetting(newReport(true), section, name, json)
	if failed := problems.Of(Error); len(failed) > 0 {
		return &failed[0]
	}
	return nil
}

// within is the problem with its key as seen from inside a path.
func (p Problem) within(path string) *Problem {
	p.Key = strings.TrimPrefix(p.Key, path+".")
	return &p
}

// refer replaces a text that names a variable by what that holds.
func (f *File) refer(v *value) {
	name, ok := strings.CutPrefix(v.text, reference)
	if !ok {
		return
	}
	v.fromEnv = true
	got, err := f.Environ.Secret(name)
	if OwnVariable(name) || f.ownFile(name) || err != nil {
		v.is, v.text = null, ""
		return
	}
	v.text = got.Reveal()
	if v.text == "" {
		v.text = f.stored[name]
	}
	if v.text == "" {
		v.is = null
	}
}

// OwnVariable reports whether a variable is one of the gateway itself or of its
// databases: nothing in the database can read it or stand in for it.
func OwnVariable(name string) bool {
	for _, own := range []string{"LITELLM_", "SLUICE_", "DATABASE_", "DIRECT_URL", "REDIS_", "PROXY_MASTER_KEY", "POSTGRES_", "PG"} {
		if strings.HasPrefix(strings.ToUpper(name), own) {
			return true
		}
	}
	return false
}

// Variable is a variable as the providers of deployments see it. The key of a
// provider may be given in any form of a secret, or be one that the API stored.
func (f *File) Variable(name string) string {
	if v := f.Environ.Get(name); v != "" || !f.keys[name] {
		return v
	}
	if v, err := f.Environ.Secret(name); err == nil && v != "" {
		return v.Reveal()
	}
	if OwnVariable(name) {
		return ""
	}
	return f.stored[name]
}
