package admin

import (
	"slices"
	"strings"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/store"
)

// teamParams are the parameters that a team admin may give to a deployment of
// its team, besides prices: none that reads a file or the environment, reaches
// another address or uses a credential of the gateway.
var teamParams = strings.Fields(`model api_key api_base api_version custom_llm_provider organization timeout stream_timeout
	max_retries num_retries rpm tpm itpm otpm weight order max_parallel_requests mock_response mock_delay tags max_budget budget_duration
	drop_params additional_drop_params allowed_openai_params merge_reasoning_content_in_choices
	temperature top_p n max_tokens max_completion_tokens presence_penalty frequency_penalty stop seed response_format
	reasoning_effort verbosity service_tier`)

// teamRules holds a team admin to what is its team's own: its own provider key,
// and addresses that the operator has listed. params is the outcome of the body
// over old.
func (a *API) teamRules(c *Call, old, params identity.Fields, body modelAsked) *llm.Error {
	admin, e := c.Admin()
	if e != nil || admin {
		return e
	}
	if body.info["access_groups"] != nil {
		return forbidden("model_info.access_groups may be set by proxy admins alone.", "model_info.access_groups")
	}
	asked := body.params
	for field, v := range asked {
		at := "litellm_params." + field
		switch {
		case !slices.Contains(teamParams, field) && !strings.Contains(field, "cost_per_") && !slices.Contains(paramFlags, field):
			return forbidden(at+" may be set by proxy admins alone. A team admin may set "+strings.Join(teamParams, ", ")+" and prices.", at)
		case namesEnvironment(v):
			return forbidden(at+" names a variable of the gateway's environment, which proxy admins alone may do. Send the value itself.", at)
		case field == "api_base" && !slices.Contains(a.c.Models.TeamBases, strings.TrimSuffix(textOf(v), "/")) && string(v) != "null":
			return forbidden(at+" is not one that team admins may use. Leave it out, or ask a proxy admin to add the model.", at)
		}
	}
	if textOf(params["api_key"]) == "" && params["mock_response"] == nil && params["litellm_credential_name"] == nil {
		return badRequest("litellm_params.api_key is missing. A deployment of a team is called with the team's own key.", "litellm_params.api_key")
	}
	if old != nil && whereTo(old) != whereTo(params) && textOf(asked["api_key"]) == "" {
		return badRequest("litellm_params.api_key is missing. Where the provider or its address changes, send the key for it too.", "litellm_params.api_key")
	}
	return nil
}

// teamName refuses a team admin's name for a model that means something else.
func (a *API) teamName(c *Call, tx *store.Tx, m *identity.Model) *llm.Error {
	admin, e := c.Admin()
	if e != nil || admin {
		return e
	}
	taken, e := a.nameTaken(c, tx, m)
	if e == nil && taken {
		return conflict("The model name "+m.Name+" means something to the gateway already. Send another model_name for the team's.", "model_name")
	}
	return e
}

// whereTo is where calls of a deployment go.
func whereTo(params identity.Fields) [3]string {
	provider, _ := splitModel(textOf(params["model"]), textOf(params["custom_llm_provider"]))
	return [3]string{provider, textOf(params["api_base"]), textOf(params["base_url"])}
}

// nameTaken says whether the name of a team's model stands for anything else in
// a list of models. It will stand in the team's list, and must not give the team
// more than its own model.
func (a *API) nameTaken(c *Call, tx *store.Tx, m *identity.Model) (bool, *llm.Error) {
	switch m.Name {
	case identity.AllProxyModels, identity.AllTeamModels, identity.NoDefaultModels:
		return true, nil
	}
	if strings.Contains(m.Name, "*") {
		return true, nil
	}
	if catalog := a.c.Models.Catalog; catalog != nil && catalog.Means(m.Name) {
		return true, nil
	}
	shared, err := store.Count[identity.Model](c.Ctx, tx, store.Null("team_id"), store.Eq("model_name", m.Name))
	if err != nil || shared > 0 {
		return true, a.failed(err)
	}
	groups, err := store.Count[identity.AccessGroup](c.Ctx, tx, store.Any(store.Eq("access_group_name", m.Name), store.Eq("access_group_id", m.Name)))
	return groups > 0, a.failed(err)
}

// teamGains puts the name of a team's model into the list of what the team may
// call, where there is a list: an empty one means everything.
func (a *API) teamGains(c *Call, tx *store.Tx, m *identity.Model) *llm.Error {
	if m.TeamID == "" {
		return nil
	}
	t, err := store.Get[identity.Team](c.Ctx, tx, m.TeamID)
	if missing(err) {
		return nil
	}
	if err != nil {
		return a.failed(err)
	}
	if len(t.Models) == 0 || slices.Contains(t.Models, m.Name) || slices.Contains(t.Models, identity.AllProxyModels) {
		return nil
	}
	t.Models = append(t.Models, m.Name)
	return a.failed(tx.Update(t))
}

// teamLoses takes it out again with the last model of that name. The last name
// of a list stays: an empty list would give the team everything.
func (a *API) teamLoses(c *Call, tx *store.Tx, m *identity.Model) *llm.Error {
	if m.TeamID == "" {
		return nil
	}
	left, err := store.Count[identity.Model](c.Ctx, tx, store.Eq("model_name", m.Name), store.Eq("team_id", m.TeamID))
	if err != nil || left > 0 {
		return a.failed(err)
	}
	t, err := store.Get[identity.Team](c.Ctx, tx, m.TeamID)
	if missing(err) {
		return nil
	}
	if err != nil {
		return a.failed(err)
	}
	at := slices.Index(t.Models, m.Name)
	if at < 0 || len(t.Models) == 1 {
		return nil
	}
	t.Models = slices.Delete(t.Models, at, at+1)
	return a.failed(tx.Update(t))
}
