package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/price"
)

// stores refuses where nothing of the configuration is kept in the database.
func (a *API) stores() *llm.Error {
	switch {
	case !a.c.StoreModels:
		return &llm.Error{Kind: llm.KindInternal, Status: 500, Type: "auth_error", Param: "None", Message: "Models, " +
			"credentials and settings are not kept in the database here. Set store_model_in_db: true in general_settings, or " +
			"STORE_MODEL_IN_DB=True in the environment, and start again."}
	case a.ring() == nil:
		return noKey(nil)
	}
	return nil
}

// noKey is the answer while there is no key to seal with, or another one than
// was thought.
func noKey(err error) *llm.Error {
	return &llm.Error{
		Kind: llm.KindUnavailable, Status: 503, Type: "db_unavailable", Param: "LITELLM_SALT_KEY", RetryAfter: time.Second, Err: err,
		Message: "It is not known yet with which key secrets are to be sealed, or this gateway does not have that key. Nothing was changed. Send " +
			"the request again shortly; if that does not help, the gateway's log says what is wrong.",
	}
}

// sealParams seals the texts of a model's parameters. What is the same as before
// keeps its sealed form, so that the record of changes shows what changed.
func (a *API) sealParams(m *identity.Model, before, params identity.Fields) *llm.Error {
	ring, sealed := a.ring(), make(identity.Fields, len(params))
	if ring == nil {
		return noKey(nil)
	}
	for name, v := range params {
		if was, ok := before[name]; ok && m.SealedWith == ring.ID() && bytes.Equal(was, v) {
			sealed[name] = m.Params[name]
			continue
		}
		s, err := ring.SealJSON(m.Kind().Table(), m.ID, name, v)
		if err != nil {
			return badRequest("litellm_params."+name+" cannot be read: send JSON.", "litellm_params."+name)
		}
		sealed[name] = s
	}
	m.Params, m.SealedWith = sealed, ring.ID()
	return nil
}

// openParams opens a model's parameters.
func (a *API) openParams(m *identity.Model) (identity.Fields, error) {
	ring := a.ring()
	if ring == nil {
		return nil, errors.New("there is no key to open secrets with")
	}
	out := make(identity.Fields, len(m.Params))
	for name, v := range m.Params {
		opened, err := ring.OpenJSON(m.Kind().Table(), m.ID, name, v)
		if err != nil {
			return nil, err
		}
		out[name] = opened
	}
	return out, nil
}

// mustOpen is openParams for those who cannot go on without.
func (a *API) mustOpen(m *identity.Model) (identity.Fields, *llm.Error) {
	params, err := a.openParams(m)
	if err != nil {
		return nil, &llm.Error{
			Kind: llm.KindInternal, Status: 500, Type: "internal_server_error", Err: err,
			Message: "The parameters of the model " + m.ID + " cannot be opened: they were sealed with another salt key, or changed in the " +
				"database. Delete the model and add it again, or start with the LITELLM_SALT_KEY that it was stored with.",
		}
	}
	return params, nil
}

// deploymentOf is a model of the database as lists show it. Without its key it
// is shown all the same, without parameters.
func (a *API) deploymentOf(m *identity.Model) Deployment {
	d := Deployment{ID: m.ID, Name: m.Name, Info: m.Info, TeamID: m.TeamID, Blocked: m.Blocked, DB: true}
	params, err := a.openParams(m)
	if err != nil {
		a.c.Log.Warn("the parameters of a model cannot be opened", slog.String("model_id", m.ID), slog.Any("error", err))
	}
	d.Params = shown(params)
	d.Provider, d.Model = splitModel(textOf(params["model"]), textOf(params["custom_llm_provider"]))
	return d
}

// splitModel parts the provider's prefix from a model; without one the table of
// prices may know whose it is.
func splitModel(model, provider string) (prefix, name string) {
	if provider != "" {
		return provider, strings.TrimPrefix(model, provider+"/")
	}
	if prefix, name, ok := strings.Cut(model, "/"); ok {
		return prefix, name
	}
	if e, ok := price.Lookup(model, ""); ok {
		return e.Text("litellm_provider"), model
	}
	return "", model
}

// overlaid is what an update makes of an object: new fields over old ones, and
// the mask is the old value. A null takes the field away where it may.
func overlaid(old, with identity.Fields, nullClears bool) identity.Fields {
	out := make(identity.Fields, len(old)+len(with))
	for name, v := range old {
		out[name] = v
	}
	for name, v := range with {
		switch v = bytes.TrimSpace(v); {
		case !bytes.Equal(v, nothing):
			if v = unmask(old[name], v); v != nil {
				out[name] = v
			}
		case nullClears:
			delete(out, name)
		}
	}
	return out
}

// given is an object without what is null in it.
func given(f identity.Fields) identity.Fields {
	out := make(identity.Fields, len(f))
	for name, v := range f {
		if v = bytes.TrimSpace(v); !bytes.Equal(v, nothing) {
			out[name] = v
		}
	}
	return out
}

// checkModel says what is wrong with a deployment that is to be stored.
func (a *API) checkModel(name string, params, info identity.Fields) *llm.Error {
	if strings.TrimSpace(name) == "" {
		return badRequest("model_name is missing. Send the public name of the model.", "model_name")
	}
	if strings.TrimSpace(textOf(params["model"])) == "" {
		return badRequest("litellm_params.model is missing. Send provider/model, as in openai/gpt-4o.", "litellm_params.model")
	}
	for _, field := range []string{"api_base", "base_url"} {
		if v, ok := params[field]; ok {
			if e := checkBase("litellm_params."+field, v); e != nil {
				return e
			}
		}
	}
	for field, v := range params {
		if limitField(field) && len(v) > 0 && v[0] == '-' {
			return badRequest("litellm_params."+field+" is "+string(clip(v))+". It must not be negative.", "litellm_params."+field)
		}
	}
	if field := secretInside("model_info", info); field != "" {
		return badRequest(field+" looks like a secret, and model_info is shown to everybody who may call the model. Put secrets into "+
			"litellm_params or into a credential.", field)
	}
	if a.c.Models.Catalog == nil {
		return nil
	}
	return invalid(a.c.Models.Catalog.Check(name, params, info))
}

// invalid words a problem that the configuration's own judgement found.
func invalid(err error) *llm.Error {
	if err == nil {
		return nil
	}
	var field *FieldError
	if errors.As(err, &field) {
		return badRequest(capital(field.Error())+".", field.Field)
	}
	return badRequest(capital(err.Error())+".", "")
}

// capital begins a sentence, unless the first word is the name of a field.
func capital(s string) string {
	word, _, _ := strings.Cut(s, " ")
	if s == "" || strings.ContainsAny(word, "_.") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// checkBase refuses what is no base URL. It is not repeated: it may hold a
// password.
func checkBase(field string, v json.RawMessage) *llm.Error {
	text := textOf(v)
	if strings.HasPrefix(text, environment) {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return badRequest(field+" is no URL of a provider. Send one such as https://host:port/v1.", field)
	}
	if u.User != nil {
		return badRequest(field+" holds a user or a password, which is not possible. Send the key in api_key, or in extra_headers.", field)
	}
	return nil
}

// limitField says whether a parameter is an amount that cannot be negative.
func limitField(name string) bool {
	switch name {
	case "rpm", "tpm", "itpm", "otpm", "weight", "max_parallel_requests", "timeout", "stream_timeout", "max_retries", "num_retries",
		"cooldown_time", "max_budget", "max_file_size_mb":
		return true
	}
	return strings.Contains(name, "cost_per_") || strings.HasSuffix(name, "_cost")
}

// secretInside is the path of the first field that looks like a secret.
func secretInside(path string, f identity.Fields) string {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if found := secretAt(path+"."+name, name, f[name]); found != "" {
			return found
		}
	}
	return ""
}

func secretAt(path, name string, v json.RawMessage) string {
	v = bytes.TrimSpace(v)
	switch {
	case len(v) == 0:
	case v[0] == '"':
		text := textOf(v)
		if text != "" && secretField(name) || strings.HasPrefix(text, "sk-") || withPassword(text) {
			return path
		}
	case v[0] == '{':
		var inner identity.Fields
		if json.Unmarshal(v, &inner) != nil {
			return ""
		}
		if !secretField(name) {
			return secretInside(path, inner)
		}
		for _, field := range slices.Sorted(maps.Keys(inner)) { // secrets by other names: webhooks of channels
			if found := secretAt(path+"."+field, name, inner[field]); found != "" {
				return found
			}
		}
	case v[0] == '[':
		var items []json.RawMessage
		if json.Unmarshal(v, &items) != nil {
			return ""
		}
		for i, item := range items {
			if found := secretAt(fmt.Sprintf("%s[%d]", path, i), name, item); found != "" {
				return found
			}
		}
	}
	return ""
}

// withPassword says whether a text is a URL that names a user.
func withPassword(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && u.User != nil
}
