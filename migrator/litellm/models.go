package litellm

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/proxy/identity"
	"sluice/proxy/seal"
)

// modelRow is a row of LiteLLM_ProxyModelTable.
type modelRow struct {
	ID      text   `json:"model_id"`
	Name    text   `json:"model_name"`
	Params  object `json:"litellm_params"`
	Info    object `json:"model_info"`
	Blocked *bool  `json:"blocked"`
	trail
}

// derived are the fields of model_info that answers of the API have of their own.
var derived = []string{
	"id", "db_model", "key", "team_id", "blocked", "pricing_overrides", "access_via_team_ids", "direct_access",
	"supported_openai_params", "created_at", "created_by", "updated_at", "updated_by",
}

// flags are the switches that LiteLLM writes into every deployment. A false one
// says nothing.
var flags = []string{
	"allow_client_keepalive_override", "merge_reasoning_content_in_choices", "use_in_pass_through", "use_litellm_proxy", "use_xai_oauth",
}

func convertModel(r *row, m *modelRow) error {
	if !r.ids(m.ID, m.Name) {
		return nil
	}
	params, info := r.object("litellm_params", m.Params), r.object("model_info", m.Info)
	if len(params) == 0 {
		r.skip("has no litellm_params")
		return nil
	}
	out := &identity.Model{ID: string(m.ID), Name: string(m.Name), Blocked: m.Blocked != nil && *m.Blocked, Stamp: r.stamp(&m.trail)}
	if v := textOf(info["id"]); v != "" && v != out.ID {
		r.report("model_info.id is not the model_id, which is the id that holds")
	}
	if string(info["blocked"]) == "true" {
		out.Blocked = true
	}
	if team := text(textOf(info["team_id"])); team != "" {
		if out.TeamID = r.reference("model_info.team_id", team); out.TeamID == "" {
			r.skip("belongs to a team that could not be taken")
			return nil
		}
		if public := textOf(info["team_public_model_name"]); public != "" && len(public) <= longestName {
			out.Name = public // what the team calls it by; model_name is made up
		}
	}
	for name, v := range info {
		switch {
		case slices.Contains(derived, name), string(v) == "null":
		case secretIn(name, v):
			r.report("model_info has a secret, which everybody who may call the model would see; it was left out")
		default:
			put(&out.Info, name, v)
		}
	}
	open := &unlocker{r: r, tells: "model"}
	plain := open.fields(params)
	if err := open.verdict(); err != nil {
		return err
	}
	for _, name := range flags {
		if string(plain[name]) == "false" {
			delete(plain, name)
		}
	}
	var err error
	if out.Params, err = r.sealFields(out.Kind().Table(), out.ID, plain); err != nil {
		return err
	}
	out.SealedWith = r.c.Ring.ID()
	return r.c.Sink.Object(out)
}

// sealFields seals every text inside the fields of an object, each for its place.
func (r *row) sealFields(table, id string, plain identity.Fields) (identity.Fields, error) {
	out := make(identity.Fields, len(plain))
	for name, v := range plain {
		sealed, err := r.c.Ring.SealJSON(table, id, name, v)
		if err != nil {
			return nil, fmt.Errorf("seal %s of %s: %w", name, table, err)
		}
		out[name] = sealed
	}
	return out, nil
}

// textOf is a JSON text; "" for anything else.
func textOf(v json.RawMessage) (s string) {
	if len(v) == 0 || v[0] != '"' || json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// credentialRow is a row of LiteLLM_CredentialsTable.
type credentialRow struct {
	ID          text   `json:"credential_id"`
	Name        text   `json:"credential_name"`
	DisplayName text   `json:"display_name"`
	Values      object `json:"credential_values"`
	Info        object `json:"credential_info"`
	trail
}

// displayName is where the management API keeps the name for people.
const displayName = "sluice_display_name"

func convertCredential(r *row, m *credentialRow) error {
	if !r.ids(m.ID, m.Name) {
		return nil
	}
	out := &identity.Credential{
		ID: string(m.ID), Name: string(m.Name), Values: map[string]string{}, Info: maps.Clone(r.object("credential_info", m.Info)),
		SealedWith: r.c.Ring.ID(), Stamp: r.stamp(&m.trail),
	}
	if m.DisplayName != "" {
		put(&out.Info, displayName, quoted(string(m.DisplayName)))
	}
	open := &unlocker{r: r}
	plain := open.fields(r.object("credential_values", m.Values))
	if err := open.verdict(); err != nil {
		return err
	}
	for name, v := range plain {
		value := string(v) // a number or a switch is its text
		if v[0] == '"' {
			value = textOf(v)
		}
		sealed, err := r.c.Ring.Seal(seal.Place(out.Kind().Table(), out.ID, name), value)
		if err != nil {
			return fmt.Errorf("seal a value of a credential: %w", err)
		}
		out.Values[name] = sealed
	}
	if strings.TrimSpace(out.Name) != out.Name || slices.Contains([]string{"by_name", "by_model", "migrate-encryption"}, out.Name) {
		r.report("credential_name is one that the paths of the API cannot have: models can use it, the API cannot show it")
	}
	return r.c.Sink.Object(out)
}

func modelTables() []Table {
	return []Table{
		{
			Name: tableModels, Key: []string{"model_id"}, Needs: []string{"model_id", "model_name", "litellm_params"}, Sealed: true, From: whole(tableModels),
			Convert: converting(tableModels, func(m *modelRow) string { return string(m.ID) }, convertModel),
		},
		{
			Name: tableCredentials, Key: []string{"credential_id"}, Needs: []string{"credential_id", "credential_name", "credential_values"}, Sealed: true,
			From:    whole(tableCredentials),
			Convert: converting(tableCredentials, func(m *credentialRow) string { return string(m.Name) }, convertCredential),
		},
		{
			Name: tableConfig, Key: []string{"param_name"}, Needs: []string{"param_name", "param_value"}, Sealed: true, From: whole(tableConfig),
			Convert: converting(tableConfig, func(i *configRow) string { return string(i.Name) }, convertConfig),
		},
	}
}
