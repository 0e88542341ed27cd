package admin

import (
	"encoding/json"
	"slices"
	"strconv"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
)

// modelGroup is what the deployments of a name can do together.
type modelGroup struct {
	Name            string          `json:"model_group"`
	Providers       []string        `json:"providers"`
	MaxInput        json.RawMessage `json:"max_input_tokens"`
	MaxOutput       json.RawMessage `json:"max_output_tokens"`
	InputCost       json.RawMessage `json:"input_cost_per_token"`
	OutputCost      json.RawMessage `json:"output_cost_per_token"`
	PixelCost       json.RawMessage `json:"input_cost_per_pixel"`
	Mode            json.RawMessage `json:"mode"`
	TPM             *int64          `json:"tpm"`
	RPM             *int64          `json:"rpm"`
	InputTPM        *int64          `json:"itpm"`
	OutputTPM       *int64          `json:"otpm"`
	ParallelCalls   bool            `json:"supports_parallel_function_calling"`
	Vision          bool            `json:"supports_vision"`
	WebSearch       bool            `json:"supports_web_search"`
	URLContext      bool            `json:"supports_url_context"`
	Reasoning       bool            `json:"supports_reasoning"`
	FunctionCalling bool            `json:"supports_function_calling"`
	FastMode        bool            `json:"supports_fast_mode"`
	Efforts         []string        `json:"supported_reasoning_efforts"`
	Params          []string        `json:"supported_openai_params"`
	ClientSide      json.RawMessage `json:"configurable_clientside_auth_params"`
	Public          bool            `json:"is_public_model_group"`
	HealthStatus    *string         `json:"health_status"`
	HealthTime      *float64        `json:"health_response_time"`
	HealthChecked   *isoZ           `json:"health_checked_at"`
}

// describeGroups describes the names that the caller may call.
func (a *API) describeGroups(c *Call) (any, *llm.Error) {
	v, e := a.viewer(c)
	if e != nil {
		return nil, e
	}
	models, e := v.visible()
	if e != nil {
		return nil, e
	}
	name := c.Arg("model_group")
	groups, at := []*modelGroup{}, map[string]*modelGroup{}
	for i := range models {
		d := &models[i].Deployment
		if name != "" && d.Name != name {
			continue
		}
		g := at[d.Name]
		if g == nil {
			g = &modelGroup{Name: d.Name, Efforts: []string{}, Params: openAIParams}
			at[d.Name] = g
			groups = append(groups, g)
		}
		g.add(d, v.described(d))
	}
	return map[string]any{"data": groups}, nil
}

// add widens the group by one deployment, of which info is model_info.
func (g *modelGroup) add(d *Deployment, info identity.Fields) {
	if p := d.Provider; p != "" && !slices.Contains(g.Providers, p) {
		g.Providers = append(g.Providers, p)
	}
	g.Providers = list(g.Providers)
	g.MaxInput, g.MaxOutput = most(g.MaxInput, info["max_input_tokens"]), most(g.MaxOutput, info["max_output_tokens"])
	g.InputCost, g.OutputCost = most(g.InputCost, info["input_cost_per_token"]), most(g.OutputCost, info["output_cost_per_token"])
	g.PixelCost = most(g.PixelCost, d.Params["input_cost_per_pixel"])
	if g.Mode == nil || string(g.Mode) == "null" {
		g.Mode = info["mode"]
	}
	for field, sum := range map[string]**int64{"tpm": &g.TPM, "rpm": &g.RPM, "itpm": &g.InputTPM, "otpm": &g.OutputTPM} {
		if n, err := strconv.ParseInt(string(d.Params[field]), 10, 64); err == nil {
			if *sum != nil {
				n += **sum
			}
			*sum = &n
		}
	}
	for field, can := range map[string]*bool{
		"supports_parallel_function_calling": &g.ParallelCalls, "supports_vision": &g.Vision, "supports_web_search": &g.WebSearch,
		"supports_url_context": &g.URLContext, "supports_reasoning": &g.Reasoning, "supports_function_calling": &g.FunctionCalling,
	} {
		*can = *can || string(info[field]) == "true"
	}
	for _, effort := range texts(info["reasoning_effort_levels"]) {
		if !slices.Contains(g.Efforts, effort) {
			g.Efforts = append(g.Efforts, effort)
		}
	}
	if v := d.Params["configurable_clientside_auth_params"]; v != nil && g.ClientSide == nil {
		g.ClientSide = v
	}
}

// most is the greater of two numbers; what is no number counts as less.
func most(a, b json.RawMessage) json.RawMessage {
	if len(b) == 0 || string(b) == "null" || len(a) > 0 && string(a) != "null" && decimal(a) >= decimal(b) {
		return a
	}
	return b
}

// costOf is a price of a deployment: its own, else that of the table.
func (v *viewer) costOf(d *Deployment, field string) json.RawMessage {
	for _, own := range []identity.Fields{d.Info, d.Params} {
		if value := own[field]; value != nil {
			return value
		}
	}
	return v.priced(d).Fields[field]
}

// decimal is a number for comparing; 0 for anything else. Amounts that count are
// never made of it.
func decimal(v json.RawMessage) float64 {
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return 0
	}
	return f
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
