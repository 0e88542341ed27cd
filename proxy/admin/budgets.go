package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
	"sluice/proxy/window"
)

// budgetHandlers are the handlers of proxy/access/budgets.go.
func budgetHandlers() map[string]handler {
	return map[string]handler{
		"POST /budget/new":     (*API).newBudget,
		"POST /budget/update":  (*API).updateBudget,
		"POST /budget/info":    (*API).budgetInfo,
		"GET /budget/settings": (*API).budgetSettings,
		"GET /budget/list":     (*API).listBudgets,
		"POST /budget/delete":  (*API).deleteBudget,
	}
}

// budgetTable is a budget inside the object that refers to it.
type budgetTable struct {
	BudgetID            string          `json:"budget_id"`
	SoftBudget          *money.Nano     `json:"soft_budget"`
	MaxBudget           *money.Nano     `json:"max_budget"`
	MaxParallelRequests *int64          `json:"max_parallel_requests"`
	TPMLimit            *int64          `json:"tpm_limit"`
	RPMLimit            *int64          `json:"rpm_limit"`
	TPDLimit            json.RawMessage `json:"tpd_limit"`
	ModelMaxBudget      identity.Fields `json:"model_max_budget"`
	BudgetDuration      *string         `json:"budget_duration"`
	AllowedModels       []string        `json:"allowed_models"`
	TempBudgetIncrease  json.RawMessage `json:"temp_budget_increase"`
	TempBudgetExpiry    json.RawMessage `json:"temp_budget_expiry"`
}

// budgetTableFull is budgetTable where the moments are told too.
type budgetTableFull struct {
	budgetTable
	BudgetResetAt *isoZ `json:"budget_reset_at"`
	CreatedAt     isoZ  `json:"created_at"`
}

// budgetRow is a budget as its own routes answer it.
type budgetRow struct {
	budgetTableFull
	CreatedBy          string       `json:"created_by"`
	UpdatedAt          isoZ         `json:"updated_at"`
	UpdatedBy          string       `json:"updated_by"`
	LitellmBudgetTable *budgetTable `json:"litellm_budget_table"` // always null
}

// tableOf is a budget as another object shows it; nil for none.
func tableOf(b *identity.Budget) *budgetTable {
	if b == nil {
		return nil
	}
	t := &budgetTable{
		BudgetID: b.ID, SoftBudget: b.SoftBudget, MaxBudget: b.MaxBudget, MaxParallelRequests: b.MaxParallelRequests,
		TPMLimit: b.TPMLimit, RPMLimit: b.RPMLimit, TPDLimit: b.Settings["tpd_limit"], BudgetDuration: null(b.BudgetDuration),
		AllowedModels: list(b.AllowedModels), TempBudgetIncrease: b.Settings["temp_budget_increase"],
		TempBudgetExpiry: b.Settings["temp_budget_expiry"],
	}
	if len(b.ModelMaxBudget) > 0 {
		t.ModelMaxBudget = b.ModelMaxBudget
	}
	return t
}

// fullTableOf is tableOf with the moments; nil for none.
func fullTableOf(b *identity.Budget) *budgetTableFull {
	if b == nil {
		return nil
	}
	return &budgetTableFull{budgetTable: *tableOf(b), BudgetResetAt: zulu(b.BudgetResetAt), CreatedAt: isoZ(b.CreatedAt)}
}

func rowOf(b *identity.Budget) budgetRow {
	return budgetRow{
		budgetTableFull: *fullTableOf(b), CreatedBy: b.CreatedBy, UpdatedAt: isoZ(b.UpdatedAt), UpdatedBy: b.UpdatedBy,
	}
}

// limitNames are the fields of a budget that other objects take inline.
var limitNames = []string{
	"max_budget", "soft_budget", "budget_duration", "max_parallel_requests", "tpm_limit", "rpm_limit", "tpd_limit",
	"model_max_budget", "allowed_models", "temp_budget_increase", "temp_budget_expiry", "budget_reset_at",
}

// hasLimits says whether a body has one of a budget's fields, and with given
// whether one of them has a value.
func hasLimits(b Body) (sent, given bool) {
	for _, name := range limitNames {
		sent = sent || b.Has(name)
		given = given || b.Given(name)
	}
	return sent, given
}

// setLimits takes the fields of a budget from the body. A field that is sent as
// null is cleared; one that is not sent stays. A new duration starts a new
// window.
func (a *API) setLimits(c *Call, b *identity.Budget) *llm.Error {
	if e := counts(c.Body, "max_parallel_requests", "tpm_limit", "rpm_limit", "tpd_limit"); e != nil {
		return e
	}
	for name, to := range map[string]**money.Nano{"max_budget": &b.MaxBudget, "soft_budget": &b.SoftBudget} {
		if c.Body.Has(name) {
			*to = c.Body.Money(name)
		}
	}
	for name, to := range map[string]**int64{
		"max_parallel_requests": &b.MaxParallelRequests, "tpm_limit": &b.TPMLimit, "rpm_limit": &b.RPMLimit,
	} {
		if c.Body.Has(name) {
			*to = c.Body.Int(name)
		}
	}
	if c.Body.Has("model_max_budget") {
		b.ModelMaxBudget = c.Body.Fields("model_max_budget")
		if e := checkModelBudgets(b.ModelMaxBudget); e != nil {
			return e
		}
	}
	if c.Body.Has("allowed_models") {
		b.AllowedModels = c.Body.Texts("allowed_models")
	}
	b.Settings = keep(b.Settings, c.Body, "tpd_limit", "temp_budget_increase", "temp_budget_expiry")
	if c.Body.Given("temp_budget_increase") || c.Body.Given("temp_budget_expiry") {
		if (b.Settings["temp_budget_increase"] == nil) != (b.Settings["temp_budget_expiry"] == nil) {
			return badRequest(raisedTogether, "temp_budget_expiry")
		}
	}
	if duration := c.Body.Text("budget_duration"); c.Body.Has("budget_duration") && duration != b.BudgetDuration {
		b.BudgetDuration, b.BudgetResetAt = duration, nil
	}
	if c.Body.Given("soft_budget") || c.Body.Given("max_budget") {
		if e := neverWarns(b.SoftBudget, b.MaxBudget); e != nil {
			return e
		}
	}
	if c.Body.Has("budget_reset_at") {
		b.BudgetResetAt = c.Body.Time("budget_reset_at")
	}
	if b.BudgetDuration != "" && b.BudgetResetAt == nil {
		at, err := window.Next(b.BudgetDuration, c.Now, a.c.Zone)
		if err != nil {
			return badRequest("budget_duration "+err.Error()+".", "budget_duration")
		}
		b.BudgetResetAt = &at
	}
	return nil
}

// raisedTogether is said of an increase without an end, which would have no effect.
const raisedTogether = "temp_budget_increase and temp_budget_expiry belong together: send both, or null for both."

// counts refuses numbers below zero: a limit that can never be met is a mistake,
// and blocking says better what is meant.
func counts(b Body, names ...string) *llm.Error {
	for _, name := range names {
		if n := b.Int(name); n != nil && *n < 0 {
			return badRequest(fmt.Sprintf("%s must be a whole number of zero or more. Received: %d", name, *n), name)
		}
	}
	return nil
}

// checkModelBudgets reads the budgets of single models: each an amount, or an
// object whose amount and window are checked.
func checkModelBudgets(f identity.Fields) *llm.Error {
	for model, raw := range f {
		name := "model_max_budget." + clipText(model)
		refuse := func(what string) *llm.Error { return badRequest(name+" "+what, "model_max_budget") }
		if model == "" {
			return refuse("names no model.")
		}
		amount := money.Nano(0)
		if string(raw) != "null" && json.Unmarshal(raw, &amount) == nil {
			if amount < 0 {
				return refuse("must be zero dollars or more.")
			}
			continue
		}
		var limits identity.Fields
		if json.Unmarshal(raw, &limits) != nil || !bounds(limits) {
			return refuse("must be an object with max_budget and budget_duration, or with rpm_limit or tpm_limit, or a number of dollars.")
		}
		for field, v := range limits {
			if string(v) == "null" {
				continue
			}
			if other := limits[otherSpelling[field]]; len(other) > 0 && string(other) != "null" && !sameJSON(v, other) {
				return refuse("has " + field + " and " + otherSpelling[field] + ", which are the same, and say different things.")
			}
			switch field {
			case "max_budget", "budget_limit":
				if json.Unmarshal(v, &amount) != nil || amount < 0 {
					return refuse(field + " must be a number of dollars, zero or more.")
				}
			case "budget_duration", "time_period":
				var text string
				if json.Unmarshal(v, &text) != nil {
					return refuse(field + " must be a text as in 30s, 5m, 12h, 7d or 1mo.")
				}
				if _, err := window.Parse(text); err != nil {
					return refuse(field + " " + err.Error() + ".")
				}
			case "tpm_limit", "rpm_limit":
				var n int64
				if json.Unmarshal(v, &n) != nil || n < 0 {
					return refuse(field + " must be a whole number of zero or more.")
				}
			default:
				return refuse("has no field " + clipText(field) + ": it may have max_budget, budget_duration, rpm_limit and tpm_limit.")
			}
		}
	}
	return nil
}

// otherSpelling are LiteLLM's two names for the amount and the window of a model.
var otherSpelling = map[string]string{"max_budget": "budget_limit", "budget_duration": "time_period"}

// bounds says whether the limits of a model bound anything.
func bounds(limits identity.Fields) bool {
	for _, name := range []string{"max_budget", "budget_limit", "rpm_limit", "tpm_limit"} {
		if v := limits[name]; len(v) > 0 && string(v) != "null" {
			return true
		}
	}
	return false
}

// keep takes fields without a column from the body; null takes them away.
func keep(settings identity.Fields, b Body, names ...string) identity.Fields {
	for _, name := range names {
		switch {
		case b.Given(name):
			if settings == nil {
				settings = identity.Fields{}
			}
			settings[name] = b[name]
		case b.Null(name):
			delete(settings, name)
		}
	}
	return settings
}

func (a *API) newBudget(c *Call) (any, *llm.Error) {
	b := &identity.Budget{ID: c.Body.Text("budget_id")}
	if b.ID == "" {
		b.ID = newID()
	}
	if e := a.setLimits(c, b); e != nil {
		return nil, e
	}
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		return a.inserted(tx, b, fmt.Sprintf("Budget %q exists already. Change it with /budget/update.", b.ID), "budget_id")
	})
	if e != nil {
		return nil, e
	}
	return rowOf(b), nil
}

// inserted inserts an object whose key or name may be taken; the sentence says
// so then.
func (a *API) inserted(tx *store.Tx, o identity.Object, taken, param string) *llm.Error {
	err := tx.Insert(o)
	if errors.Is(err, store.ErrExists) {
		e := conflict(taken, param)
		e.Err = err
		return e
	}
	return a.failed(err)
}

// updateBudget answers null where there is no budget of the id, as LiteLLM does.
func (a *API) updateBudget(c *Call) (any, *llm.Error) {
	var answer any
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		answer = nil
		b, e := a.budget(c, tx, c.Body.Text("budget_id"))
		if e != nil {
			return e
		}
		if b == nil {
			return a.setLimits(c, &identity.Budget{}) // what is wrong is wrong all the same
		}
		if e := a.setLimits(c, b); e != nil {
			return e
		}
		if err := tx.Update(b); err != nil {
			return a.failed(err)
		}
		answer = rowOf(b)
		return nil
	})
	return answer, e
}

func (a *API) budgetInfo(c *Call) (any, *llm.Error) {
	ids := c.Body.Texts("budgets")
	if len(ids) == 0 {
		return nil, badRequest("budgets must name at least one budget.", "budgets")
	}
	found, err := budgetsOf(c, a.c.Store, ids)
	if err != nil {
		return nil, a.failed(err)
	}
	rows := []budgetRow{}
	for _, id := range ids {
		if b := found[id]; b != nil {
			rows = append(rows, rowOf(b))
			delete(found, id) // named twice, told once
		}
	}
	return rows, nil
}

// budgetSetting is one field of a budget, as forms are made from it.
type budgetSetting struct {
	FieldName         string  `json:"field_name"`
	FieldType         string  `json:"field_type"`
	FieldDescription  string  `json:"field_description"`
	FieldValue        any     `json:"field_value"`
	StoredInDB        bool    `json:"stored_in_db"`
	FieldDefaultValue *string `json:"field_default_value"`
	PremiumField      bool    `json:"premium_field"`
	NestedFields      *string `json:"nested_fields"`
}

func (a *API) budgetSettings(c *Call) (any, *llm.Error) {
	b, e := a.budget(c, a.c.Store, c.Arg("budget_id"))
	if e != nil {
		return nil, e
	}
	if b == nil {
		return nil, notFound(fmt.Sprintf("Budget %q does not exist.", c.Arg("budget_id")), "budget_id")
	}
	rows := []budgetSetting{
		{FieldName: "max_budget", FieldType: "Float", FieldDescription: "Dollars that may be spent in one window.", FieldValue: b.MaxBudget},
		{FieldName: "soft_budget", FieldType: "Float", FieldDescription: "Dollars from which a warning is given.", FieldValue: b.SoftBudget},
		{FieldName: "max_parallel_requests", FieldType: "Integer", FieldDescription: "Requests at the same time.", FieldValue: b.MaxParallelRequests},
		{FieldName: "tpm_limit", FieldType: "Integer", FieldDescription: "Tokens a minute.", FieldValue: b.TPMLimit},
		{FieldName: "rpm_limit", FieldType: "Integer", FieldDescription: "Requests a minute.", FieldValue: b.RPMLimit},
		{FieldName: "budget_duration", FieldType: "String", FieldDescription: "Length of the window.", FieldValue: null(b.BudgetDuration)},
	}
	for i := range rows {
		rows[i].StoredInDB = true
	}
	return rows, nil
}

func (a *API) listBudgets(c *Call) (any, *llm.Error) {
	found, e := listed[identity.Budget](a, c, "page_size", nil, store.Query{})
	if e != nil {
		return nil, e
	}
	rows := make([]budgetRow, len(found))
	for i, b := range found {
		rows[i] = rowOf(b)
	}
	return rows, nil
}

// deleteBudget refuses a budget that is used: without it its users would have
// no limit at all.
func (a *API) deleteBudget(c *Call) (any, *llm.Error) {
	id := c.Body.Text("id")
	var gone *identity.Budget
	e := a.changeSettings(c, func(tx *store.Tx) *llm.Error {
		b, e := a.budget(c, tx, id)
		if e != nil {
			return e
		}
		if b == nil {
			return notFound(fmt.Sprintf("Budget %q does not exist.", id), "id")
		}
		users, err := usersOf(c, tx, id)
		if err != nil {
			return a.failed(err)
		}
		if users.total() > 0 {
			return conflict(fmt.Sprintf("Budget %q is used by %s. Give them another budget first.", id, users), "id")
		}
		if e := a.givenToThoseToCome(c, tx, b); e != nil {
			return e
		}
		gone = b
		return a.failed(tx.Delete(b))
	})
	if e != nil {
		return nil, e
	}
	return rowOf(gone), nil
}

// givenToThoseToCome refuses to delete a budget that new members of a team or
// customers without one of their own get, though nobody has it yet.
func (a *API) givenToThoseToCome(c *Call, tx *store.Tx, b *identity.Budget) *llm.Error {
	if b.ID == a.c.CustomerBudget {
		return conflict(fmt.Sprintf("Budget %q is that of all customers without one of their own (max_end_user_budget_id of the configuration).", b.ID), "id")
	}
	of, made := strings.CutPrefix(text(b.Settings[madeFor]), identity.KindTeam.String()+"/")
	if !made {
		return nil
	}
	t, e := a.findTeam(c, tx, of)
	if e != nil || t == nil || teamBudgetID(t) != b.ID {
		return e
	}
	return conflict(fmt.Sprintf("Budget %q is that of each member of team %q (team_member_budget). Change it with /team/update.", b.ID, of), "id")
}
