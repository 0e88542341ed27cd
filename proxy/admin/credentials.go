package admin

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// credentialHandlers are the handlers of proxy/access/credentials.go.
func credentialHandlers() map[string]handler {
	return map[string]handler{
		"POST /credentials":                          (*API).newCredential,
		"GET /credentials":                           (*API).listCredentials,
		"GET /credentials/by_name/{credential_name}": (*API).showCredential,
		"GET /credentials/by_model/{model_id}":       (*API).showModelCredential,
		"GET /credentials/{credential_name}":         (*API).showCredential,
		"PATCH /credentials/{credential_name}":       (*API).updateCredential,
		"DELETE /credentials/{credential_name}":      (*API).deleteCredential,
	}
}

// credentialShape is a credential as it is shown.
type credentialShape struct {
	Name        string            `json:"credential_name"`
	DisplayName *string           `json:"display_name"`
	Info        identity.Fields   `json:"credential_info"`
	Values      map[string]string `json:"credential_values"`
	Source      string            `json:"source"` // db or config
}

// displayName is where the name for people is kept: credential_info has no
// field of that name.
const displayName = "sluice_display_name"

// credentialParams are the parameters of a deployment that make a credential.
var credentialParams = strings.Fields(`api_key api_base api_version organization custom_llm_provider region_name
	azure_ad_token tenant_id client_id client_secret azure_username azure_password azure_scope vertex_project vertex_location
	vertex_credentials aws_access_key_id aws_secret_access_key aws_session_token aws_region_name aws_session_name aws_profile_name
	aws_role_name aws_web_identity_token aws_sts_endpoint aws_external_id aws_bedrock_runtime_endpoint watsonx_region_name`)

// credentialChanged is the answer to a change of credentials.
type credentialChanged struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

func (a *API) newCredential(c *Call) (any, *llm.Error) {
	if e := a.stores(); e != nil {
		return nil, e
	}
	name := c.Body.Text("credential_name")
	if e := credentialName(name); e != nil {
		return nil, e
	}
	m := &identity.Credential{ID: newID(), Name: name, Info: given(c.Body.Fields("credential_info"))}
	if text := c.Body.Text("display_name"); text != "" {
		m.Info[displayName] = quoted(text)
	}
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		values, e := a.credentialValues(c, tx, nil)
		if e != nil {
			return e
		}
		if len(values) == 0 {
			return badRequest("credential_values is missing. Send the parameters of the credential, or the model_id of a deployment to take them from.", "credential_values")
		}
		if e := a.sealValues(m, nil, values); e != nil {
			return e
		}
		_, err := store.One[identity.Credential](c.Ctx, tx, store.Eq("credential_name", name))
		if err == nil {
			return conflict("Credential '"+name+"' already exists. Change it with PATCH /credentials/"+name+", or delete it first.", "")
		}
		if !missing(err) {
			return a.failed(err)
		}
		return a.failed(tx.Insert(m))
	})
	if e != nil {
		return nil, e
	}
	return credentialChanged{true, "Credential created successfully"}, nil
}

// credentialName refuses names that cannot stand in a path, or that are those of
// other routes there.
func credentialName(name string) *llm.Error {
	switch {
	case strings.TrimSpace(name) == "", strings.TrimSpace(name) != name:
		return badRequest("credential_name is empty, or begins or ends with a space. Send a name.", "credential_name")
	case len(name) > 255, strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return badRequest("credential_name is longer than 255 bytes, or has control characters. Send a shorter or plainer one.", "credential_name")
	case name == "by_name", name == "by_model", name == "migrate-encryption":
		return badRequest("credential_name is "+name+", which is the path of another route. Send another name.", "credential_name")
	}
	return nil
}

// credentialValues are the values that a body gives, over old ones.
func (a *API) credentialValues(c *Call, r store.Reader, old map[string]string) (map[string]string, *llm.Error) {
	values := maps.Clone(object(old))
	if id := c.Body.Text("model_id"); id != "" {
		m, err := store.Get[identity.Model](c.Ctx, r, id)
		if missing(err) {
			return nil, notFound("No model of the database has the id "+id+". Send the values in credential_values.", "model_id")
		}
		if err != nil {
			return nil, a.failed(err)
		}
		params, e := a.mustOpen(m)
		if e != nil {
			return nil, e
		}
		for _, name := range credentialParams {
			if text := textOf(params[name]); text != "" {
				values[name] = text
			}
		}
	}
	for name, value := range c.Body.Map("credential_values") {
		switch {
		case name == "":
			return nil, badRequest("credential_values has a value without a name.", "credential_values")
		case value != Masked:
			values[name] = value
		case old[name] == "":
			return nil, badRequest("credential_values."+name+" is "+Masked+", which stands for a value that is kept, and there is none. Send the value.", "credential_values."+name)
		}
		if name == "api_base" || name == "base_url" {
			if e := checkBase("credential_values."+name, quoted(values[name])); e != nil {
				return nil, e
			}
		}
	}
	for _, name := range c.Body.Texts("credential_values_to_delete") {
		delete(values, name)
	}
	return values, nil
}

// sealValues seals the values of a credential. What is the same as before keeps
// its sealed form.
func (a *API) sealValues(m *identity.Credential, before, values map[string]string) *llm.Error {
	ring, sealed := a.ring(), make(map[string]string, len(values))
	if ring == nil {
		return noKey(nil)
	}
	for name, value := range values {
		if was, ok := before[name]; ok && was == value && m.SealedWith == ring.ID() {
			sealed[name] = m.Values[name]
			continue
		}
		text, err := ring.Seal(credentialPlace(m.ID, name), value)
		if err != nil {
			return a.failed(err)
		}
		sealed[name] = text
	}
	m.Values, m.SealedWith = sealed, ring.ID()
	return nil
}

// openValues opens them.
func (a *API) openValues(m *identity.Credential) (map[string]string, error) {
	ring := a.ring()
	if ring == nil {
		return nil, errors.New("there is no key to open secrets with")
	}
	out := make(map[string]string, len(m.Values))
	for name, sealed := range m.Values {
		value, err := ring.Open(credentialPlace(m.ID, name), sealed)
		if err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, nil
}

// credentialPlace is where a value is sealed for.
func credentialPlace(id, name string) string {
	return seal.Place(identity.KindCredential.Table(), id, name)
}

func (a *API) shapeOf(m *identity.Credential) credentialShape {
	shape := credentialShape{Name: m.Name, Info: maps.Clone(fields(m.Info)), Values: map[string]string{}, Source: "db"}
	if name := textOf(m.Info[displayName]); name != "" {
		shape.DisplayName = &name
		delete(shape.Info, displayName)
	}
	values, err := a.openValues(m)
	if err != nil {
		a.c.Log.Warn("the values of a credential cannot be opened", slog.String("credential_name", m.Name), slog.Any("error", err))
	}
	for name := range m.Values {
		shape.Values[name] = maskedValue(name, values[name])
	}
	return shape
}

// maskedValue is a value of a credential as it is shown: plain where the field
// is known to hold no secret, else masked.
func maskedValue(name, value string) string {
	switch name {
	case "api_base", "base_url":
		return shownURL(value)
	case "api_version", "organization", "custom_llm_provider", "region_name", "tenant_id", "client_id", "azure_scope", "vertex_project",
		"vertex_location", "aws_region_name", "aws_session_name", "aws_profile_name", "aws_role_name", "aws_sts_endpoint", "watsonx_region_name":
		return value
	}
	return Masked
}

func (a *API) listCredentials(c *Call) (any, *llm.Error) {
	found, err := store.Find[identity.Credential](c.Ctx, a.c.Store, store.Query{Order: "created_at", Limit: longestList})
	if err != nil {
		return nil, a.failed(err)
	}
	out := []credentialShape{}
	for _, m := range found {
		out = append(out, a.shapeOf(m))
	}
	return struct {
		Success     bool              `json:"success"`
		Credentials []credentialShape `json:"credentials"`
	}{true, append(out, a.fileCredentials(func(name string) bool {
		return !slices.ContainsFunc(found, func(m *identity.Credential) bool { return m.Name == name })
	})...)}, nil
}

// fileCredentials are those of the configuration file.
func (a *API) fileCredentials(wanted func(name string) bool) []credentialShape {
	if a.c.Models.Catalog == nil {
		return nil
	}
	var out []credentialShape
	for _, f := range a.c.Models.Catalog.Credentials() {
		if !wanted(f.Name) {
			continue
		}
		shape := credentialShape{Name: f.Name, Info: fields(f.Info), Values: map[string]string{}, Source: "config"}
		for name, value := range f.Values {
			shape.Values[name] = maskedValue(name, value)
		}
		out = append(out, shape)
	}
	return out
}

func unknownCredential(name string) *llm.Error {
	return notFound("Credential not found. Got credential name: "+name, "")
}

func (a *API) showCredential(c *Call) (any, *llm.Error) {
	name := c.Params["credential_name"]
	m, err := store.One[identity.Credential](c.Ctx, a.c.Store, store.Eq("credential_name", name))
	if missing(err) {
		if file := a.fileCredentials(func(n string) bool { return n == name }); len(file) > 0 {
			return file[0], nil
		}
		return nil, unknownCredential(name)
	}
	if err != nil {
		return nil, a.failed(err)
	}
	return a.shapeOf(m), nil
}

// showModelCredential shows what a deployment calls its provider with.
func (a *API) showModelCredential(c *Call) (any, *llm.Error) {
	v, e := a.viewer(c)
	if e != nil {
		return nil, e
	}
	models, e := v.models()
	if e != nil {
		return nil, e
	}
	id := c.Params["model_id"]
	at := slices.IndexFunc(models, func(m listedModel) bool { return m.ID == id })
	if at < 0 {
		return nil, notFound("Model not found. Got model ID: "+id, "")
	}
	d := &models[at]
	shape := credentialShape{Name: d.Name + "-credential-" + d.ID, Info: identity.Fields{}, Values: map[string]string{}, Source: "config"}
	if d.DB {
		shape.Source = "db"
	}
	for _, name := range credentialParams {
		if text := textOf(d.Params[name]); text != "" {
			shape.Values[name] = maskedValue(name, text)
		}
	}
	return shape, nil
}

// credentialToChange reads a credential that is to be changed.
func (a *API) credentialToChange(c *Call, tx *store.Tx, name string) (*identity.Credential, *llm.Error) {
	m, err := store.One[identity.Credential](c.Ctx, tx, store.Eq("credential_name", name))
	if missing(err) {
		if len(a.fileCredentials(func(n string) bool { return n == name })) > 0 {
			return nil, badRequest("The credential "+name+" stands in the configuration file. Change it there.", "credential_name")
		}
		return nil, unknownCredential(name)
	}
	return m, a.failed(err)
}

func (a *API) updateCredential(c *Call) (any, *llm.Error) {
	if e := a.stores(); e != nil {
		return nil, e
	}
	name := c.Params["credential_name"]
	if other := c.Body.Text("credential_name"); other != "" && other != name {
		return nil, badRequest("credential_name is not the name in the path. A credential cannot be renamed: models refer to it by its name.", "credential_name")
	}
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		m, e := a.credentialToChange(c, tx, name)
		if e != nil {
			return e
		}
		old, err := a.openValues(m)
		if err != nil {
			return &llm.Error{
				Kind: llm.KindInternal, Status: 500, Type: "internal_server_error", Err: err,
				Message: "The values of the credential " + name + " cannot be opened: they were sealed with another salt key, or changed in the " +
					"database. Delete the credential and store it again, or start with the LITELLM_SALT_KEY that it was stored with.",
			}
		}
		values, e := a.credentialValues(c, tx, old)
		if e != nil {
			return e
		}
		if e := a.sealValues(m, old, values); e != nil {
			return e
		}
		m.Info = overlaid(m.Info, c.Body.Fields("credential_info"), true)
		if c.Body.Has("display_name") {
			delete(m.Info, displayName)
			if text := c.Body.Text("display_name"); text != "" {
				m.Info[displayName] = quoted(text)
			}
		}
		return a.failed(tx.Update(m))
	})
	if e != nil {
		return nil, e
	}
	return credentialChanged{true, "Credential updated successfully"}, nil
}

func (a *API) deleteCredential(c *Call) (any, *llm.Error) {
	if e := a.stores(); e != nil {
		return nil, e
	}
	e := a.change(c, func(tx *store.Tx) *llm.Error {
		m, e := a.credentialToChange(c, tx, c.Params["credential_name"])
		if e != nil {
			return e
		}
		return a.failed(tx.Delete(m))
	})
	if e != nil {
		return nil, e
	}
	return credentialChanged{true, "Credential deleted successfully"}, nil
}
