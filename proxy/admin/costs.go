package admin

import (
	"encoding/json"
	"math"
	"math/bits"
	"slices"

	"sluice/proxy/identity"
	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/price"
	"sluice/proxy/tokens"
	says "sluice/proxy/usage"
)

// costHandlers are the handlers of proxy/access/costs.go.
func costHandlers() map[string]handler {
	return map[string]handler{
		"POST /spend/calculate": (*API).spendCalculate,
		"POST /cost/estimate":   (*API).costEstimate,
	}
}

// pricedModel is a model and what its calls cost.
type pricedModel struct {
	provider, model string
	price           *price.Price
}

// priceOf is what calls to a model cost: those of the first deployment of that
// name that the caller may see, else what the table says of the name.
func (c *Call) priceOf(name string) (pricedModel, *llm.Error) {
	v, e := c.api.viewer(c)
	if e != nil {
		return pricedModel{}, e
	}
	models, e := v.visible()
	if e != nil {
		return pricedModel{}, e
	}
	found := pricedModel{}
	var own []map[string]json.RawMessage
	var adjust price.Adjustment
	if i := slices.IndexFunc(models, func(m listedModel) bool { return m.Name == name }); i >= 0 {
		d := &models[i].Deployment
		found.provider, found.model = d.modelForPrice()
		own = []map[string]json.RawMessage{d.Info, d.Params}
		adjust = c.api.c.Models.Adjustments.Of(d.Provider)
		adjust.Region = price.RegionOf(textOf(d.Params["api_base"]))
	} else {
		found.provider, found.model = splitModel(name, "")
		adjust = c.api.c.Models.Adjustments.Of(found.provider)
	}
	var err error
	found.price, err = c.api.c.Models.Prices.Price(found.model, found.provider, adjust, own...)
	if err != nil {
		return found, badRequest("The prices of model '"+name+"' cannot be used: "+err.Error(), "model")
	}
	if !found.price.Known() {
		return found, detail(404, map[string]string{
			"error": "Could not calculate cost for model '" + name + "': nothing is known of its prices. Give the deployment input_cost_per_token and output_cost_per_token.",
		})
	}
	return found, nil
}

// modelForPrice is under which name a deployment's prices are looked up.
func (d *Deployment) modelForPrice() (provider, model string) {
	if base := textOf(d.Info["base_model"]); base != "" {
		return splitModel(base, "")
	}
	return d.Provider, d.Model
}

// spendCalculate says what a prompt, or an answer, costs.
func (a *API) spendCalculate(c *Call) (any, *llm.Error) {
	model := c.Body.Text("model")
	answer := c.Body.Fields("completion_response")
	switch {
	case !c.Body.Given("messages") && answer == nil:
		return nil, badRequest("Give messages and a model, or a completion_response.", "messages")
	case model == "" && answer != nil:
		model = textOf(answer["model"])
	}
	if model == "" {
		return nil, badRequest("Say which model: in model, or in completion_response.model.", "model")
	}
	m, e := c.priceOf(model)
	if e != nil {
		return nil, e
	}
	var u llm.Usage
	if answer != nil {
		u = used(m.model, answer)
	} else {
		prompt := append(append([]byte(`{"messages":`), c.Body["messages"]...), '}')
		u = llm.Usage{Input: tokens.Messages(m.model, prompt), Estimated: true}
	}
	cost, _ := m.price.Cost(&u)
	return struct {
		Cost money.Nano `json:"cost"`
	}{cost}, nil
}

// used is what an answer says that it consumed; where it does not, its words are
// counted.
func used(model string, answer identity.Fields) llm.Usage {
	var outer, inner jsonscan.Object
	u, ok := says.Read(answer["usage"], &outer, &inner)
	if !ok || !u.Reported {
		u = llm.Usage{Output: tokens.Choices(model, answer["choices"]), Estimated: true}
	}
	if tier := textOf(answer["service_tier"]); tier != "" && u.Tier == llm.TierStandard {
		u.Tier = llm.TierNamed([]byte(tier))
	}
	return u
}

// costEstimate is the answer of /cost/estimate: what one call costs, and so many
// of them. Amounts are dollars.
type costEstimate struct {
	Model         string `json:"model"`
	Input         int64  `json:"input_tokens"`
	Output        int64  `json:"output_tokens"`
	CacheRead     int64  `json:"cache_read_input_tokens"`
	CacheCreation int64  `json:"cache_creation_input_tokens"`
	Reasoning     int64  `json:"reasoning_tokens"`
	PerDay        *int64 `json:"num_requests_per_day"`
	PerMonth      *int64 `json:"num_requests_per_month"`

	Cost              money.Nano `json:"cost_per_request"`
	InputCost         money.Nano `json:"input_cost_per_request"`
	OutputCost        money.Nano `json:"output_cost_per_request"`
	MarginCost        money.Nano `json:"margin_cost_per_request"`
	CacheReadCost     money.Nano `json:"cache_read_cost_per_request"`
	CacheCreationCost money.Nano `json:"cache_creation_cost_per_request"`
	ReasoningCost     money.Nano `json:"reasoning_cost_per_request"`

	DailyCost          *money.Nano `json:"daily_cost"`
	DailyInput         *money.Nano `json:"daily_input_cost"`
	DailyOutput        *money.Nano `json:"daily_output_cost"`
	DailyMargin        *money.Nano `json:"daily_margin_cost"`
	DailyCacheRead     *money.Nano `json:"daily_cache_read_cost"`
	DailyCacheCreation *money.Nano `json:"daily_cache_creation_cost"`
	DailyReasoning     *money.Nano `json:"daily_reasoning_cost"`

	MonthlyCost          *money.Nano `json:"monthly_cost"`
	MonthlyInput         *money.Nano `json:"monthly_input_cost"`
	MonthlyOutput        *money.Nano `json:"monthly_output_cost"`
	MonthlyMargin        *money.Nano `json:"monthly_margin_cost"`
	MonthlyCacheRead     *money.Nano `json:"monthly_cache_read_cost"`
	MonthlyCacheCreation *money.Nano `json:"monthly_cache_creation_cost"`
	MonthlyReasoning     *money.Nano `json:"monthly_reasoning_cost"`

	InputRate         json.RawMessage `json:"input_cost_per_token"`
	OutputRate        json.RawMessage `json:"output_cost_per_token"`
	CacheReadRate     json.RawMessage `json:"cache_read_input_token_cost"`
	CacheCreationRate json.RawMessage `json:"cache_creation_input_token_cost"`
	ReasoningRate     json.RawMessage `json:"output_cost_per_reasoning_token"`
	Provider          *string         `json:"provider"`
}

// costEstimate says what calls of a size cost.
func (a *API) costEstimate(c *Call) (any, *llm.Error) {
	count := func(name string) int64 {
		if n := c.Body.Int(name); n != nil {
			return *n
		}
		return 0
	}
	out := costEstimate{
		Model: c.Body.Text("model"), Input: count("input_tokens"), Output: count("output_tokens"),
		CacheRead: count("cache_read_input_tokens"), CacheCreation: count("cache_creation_input_tokens"), Reasoning: count("reasoning_tokens"),
		PerDay: c.Body.Int("num_requests_per_day"), PerMonth: c.Body.Int("num_requests_per_month"),
	}
	switch {
	case out.CacheRead > out.Input || out.CacheCreation > out.Input-out.CacheRead:
		return nil, badRequest("cache_read_input_tokens and cache_creation_input_tokens are parts of input_tokens, and more than it.", "cache_read_input_tokens")
	case out.Reasoning > out.Output:
		return nil, badRequest("reasoning_tokens are a part of output_tokens, and more than it.", "reasoning_tokens")
	}
	m, e := c.priceOf(out.Model)
	if e != nil {
		return nil, e
	}
	u := llm.Usage{Input: out.Input, Output: out.Output, CachedIn: out.CacheRead, CacheWrite: out.CacheCreation, Reasoning: out.Reasoning}
	whole, parts := m.price.Costs(&u), m.price.Split(&u)
	out.Cost, out.MarginCost = whole.Cost, whole.Margin
	out.InputCost, out.OutputCost = parts.Input, parts.Output
	out.CacheReadCost, out.CacheCreationCost, out.ReasoningCost = parts.CacheRead, parts.CacheWrite, parts.Reasoning
	out.InputRate, out.OutputRate = parts.InputRate, parts.OutputRate
	out.CacheReadRate, out.CacheCreationRate, out.ReasoningRate = parts.CacheReadRate, parts.CacheWriteRate, parts.ReasoningRate
	if m.provider != "" {
		out.Provider = &m.provider
	}
	out.times(out.PerDay, &out.DailyCost, &out.DailyInput, &out.DailyOutput, &out.DailyMargin, &out.DailyCacheRead, &out.DailyCacheCreation, &out.DailyReasoning)
	out.times(out.PerMonth, &out.MonthlyCost, &out.MonthlyInput, &out.MonthlyOutput, &out.MonthlyMargin, &out.MonthlyCacheRead,
		&out.MonthlyCacheCreation, &out.MonthlyReasoning)
	return out, nil
}

// times sets the amounts of n calls; they stay null where n is not given.
func (e *costEstimate) times(n *int64, of ...**money.Nano) {
	if n == nil {
		return
	}
	for i, one := range [...]money.Nano{e.Cost, e.InputCost, e.OutputCost, e.MarginCost, e.CacheReadCost, e.CacheCreationCost, e.ReasoningCost} {
		hi, lo := bits.Mul64(uint64(one), uint64(*n))
		many := money.Nano(math.MaxInt64)
		if hi == 0 && lo <= math.MaxInt64 {
			many = money.Nano(lo)
		}
		*of[i] = &many
	}
}
