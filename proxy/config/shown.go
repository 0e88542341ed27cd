package config

// Setting is a key of a section with what it is set to.
type Setting struct {
	Key
	Value []byte // JSON; nil: not set, or a secret
}

// Settings returns the settings of a section such as general_settings, nil for
// one that the API cannot change.
func (f *File) Settings(section string) []Setting {
	var keys []Key
	for _, s := range Sections() {
		if s.Name == section {
			keys = s.Keys
		}
	}
	values := f.root.get(section)
	var out []Setting
	for _, k := range keys {
		if fixed(section, k.Name) != "" {
			continue
		}
		s := Setting{Key: k}
		if v := values.get(k.Name); v != nil && !hidden(k.Name, v) {
			s.Value = v.appendJSON(nil)
		}
		out = append(out, s)
	}
	return out
}

// hidden reports whether a value is not to be shown: it is a secret, or came
// from the environment and may be one.
func hidden(name string, v *value) bool {
	if v.scalar() {
		return v.fromEnv || secretKey(name) && v.is == text || len(v.text) > 3 && v.text[:3] == "sk-" || v.text != withoutUser(v.text)
	}
	for _, item := range v.items {
		if hidden(name, item) {
			return true
		}
	}
	for _, e := range v.entries {
		if secretKey(name) || hidden(e.name, e.value) {
			return true
		}
	}
	return false
}

// Given returns the parameters as the entry of the deployment has them, without
// defaults and credential, and without secrets.
func (d *Deployment) Given() []Field {
	if d.own == nil {
		return nil
	}
	var out []Field
	for _, e := range d.own.entries {
		if e.value.is != null && !hidden(e.name, e.value) {
			out = append(out, Field{e.name, e.value.appendJSON(nil)})
		}
	}
	return out
}

// Credential is one entry of credential_list. A secret value is "".
type Credential struct {
	Name   string
	Values map[string]string
	Info   Objects
}

// Credentials returns those of the file.
func (f *File) Credentials() []Credential {
	v := f.root.get("credential_list")
	if v == nil {
		return nil
	}
	var out []Credential
	for _, item := range v.items {
		name, values := item.get("credential_name"), item.get("credential_values")
		if name == nil || values == nil {
			continue
		}
		c := Credential{Name: name.text, Values: map[string]string{}, Info: objects(item.get("credential_info"))}
		for _, e := range values.entries {
			switch {
			case e.value.is == null:
			case hidden(e.name, e.value), !e.value.scalar():
				c.Values[e.name] = ""
			default:
				c.Values[e.name] = e.value.text
			}
		}
		out = append(out, c)
	}
	return out
}
