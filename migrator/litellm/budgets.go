package litellm

import (
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// budgetRow is a row of LiteLLM_BudgetTable.
type budgetRow struct {
	ID text `json:"budget_id"`
	caps
	ModelMaxBudget object `json:"model_max_budget"`
	AllowedModels  list   `json:"allowed_models"`
	TPDLimit       count  `json:"tpd_limit"`
	TempIncrease   amount `json:"temp_budget_increase"`
	TempExpiry     moment `json:"temp_budget_expiry"`
	trail
}

func convertBudget(r *row, b *budgetRow) error {
	if !r.ids(b.ID) {
		return nil
	}
	out := &identity.Budget{
		ID: string(b.ID), Caps: r.caps(&b.caps), ModelMaxBudget: r.object("model_max_budget", b.ModelMaxBudget),
		AllowedModels: r.names("allowed_models", b.AllowedModels), Stamp: r.stamp(&b.trail),
	}
	if out.AllowedModels == nil && len(b.AllowedModels) > 0 {
		out.AllowedModels = []string{identity.NoDefaultModels}
		r.report("allowed_models could not be taken, so that none is allowed")
	}
	put(&out.Settings, "tpd_limit", b.TPDLimit.json())
	switch {
	case b.TempIncrease.odd != "":
		r.report("temp_budget_increase " + b.TempIncrease.odd + " and was left out")
	case b.TempIncrease.given:
		put(&out.Settings, "temp_budget_increase", quoted(b.TempIncrease.value))
		put(&out.Settings, "temp_budget_expiry", b.TempExpiry.json())
	}
	r.effectless(out.Settings, nil)
	return r.c.Sink.Object(out)
}

// windowRow is a row of LiteLLM_BudgetWindowSpend.
type windowRow struct {
	EntityType text   `json:"entity_type"`
	EntityID   text   `json:"entity_id"`
	Duration   text   `json:"window_duration"`
	Start      moment `json:"window_start"`
	Spend      amount `json:"spend"`
}

func convertWindow(r *row, w *windowRow) error {
	if !r.ids(w.EntityType, w.EntityID, w.Duration) {
		return nil
	}
	if !w.Start.given {
		r.skip("window_start is no moment")
		return nil
	}
	return r.c.Sink.Window(store.BudgetWindow{
		EntityType: string(w.EntityType), EntityID: string(w.EntityID), Duration: string(w.Duration), Start: w.Start.at, Spend: r.spent("spend", w.Spend),
	})
}

// endUserRow is a row of LiteLLM_EndUserTable.
type endUserRow struct {
	ID                 text   `json:"user_id"`
	Alias              text   `json:"alias"`
	Blocked            *bool  `json:"blocked"`
	AllowedModelRegion text   `json:"allowed_model_region"`
	DefaultModel       text   `json:"default_model"`
	BudgetID           text   `json:"budget_id"`
	Spend              amount `json:"spend"`
	Models             list   `json:"models"`
	permission
	trail
}

func convertEndUser(r *row, u *endUserRow) error {
	if !r.ids(u.ID) {
		return nil
	}
	out := &identity.EndUser{
		ID: string(u.ID), Alias: r.name("alias", u.Alias), Blocked: u.Blocked != nil && *u.Blocked,
		AllowedModelRegion: r.name("allowed_model_region", u.AllowedModelRegion), DefaultModel: r.name("default_model", u.DefaultModel),
		BudgetID: r.reference("budget_id", u.BudgetID), Spend: r.spent("spend", u.Spend), Stamp: r.stamp(&u.trail),
	}
	put(&out.Settings, "models", u.Models.json())
	r.permission(&out.Settings, &u.permission)
	out.Settings = r.fits(out.Settings)
	return r.c.Sink.Object(out)
}

// tagRow is a row of LiteLLM_TagTable.
type tagRow struct {
	Name        text   `json:"tag_name"`
	Description text   `json:"description"`
	BudgetID    text   `json:"budget_id"`
	Models      list   `json:"models"`
	ModelInfo   raw    `json:"model_info"`
	Spend       amount `json:"spend"`
	trail
}

func convertTag(r *row, t *tagRow) error {
	if !r.ids(t.Name) {
		return nil
	}
	out := &identity.Tag{
		Name: string(t.Name), Description: string(t.Description), BudgetID: r.reference("budget_id", t.BudgetID), Models: r.names("models", t.Models),
		Spend: r.spent("spend", t.Spend), Stamp: r.stamp(&t.trail),
	}
	r.keep(&out.Settings, "model_info", t.ModelInfo)
	return r.c.Sink.Object(out)
}

func budgetTables() []Table {
	return []Table{{
		Name: tableBudgets, Key: []string{"budget_id"}, Needs: []string{"budget_id"}, From: whole(tableBudgets),
		Convert: converting(tableBudgets, func(b *budgetRow) string { return string(b.ID) }, convertBudget),
	}}
}

func customerTables() []Table {
	return []Table{
		{
			Name: tableEndUsers, Key: []string{"user_id"}, Needs: []string{"user_id"}, From: permitted(tableEndUsers),
			Convert: converting(tableEndUsers, func(u *endUserRow) string { return string(u.ID) }, convertEndUser),
		},
		{
			Name: tableTags, Key: []string{"tag_name"}, Needs: []string{"tag_name"}, From: whole(tableTags),
			Convert: converting(tableTags, func(t *tagRow) string { return string(t.Name) }, convertTag),
		},
	}
}

func windowTables() []Table {
	return []Table{{
		Name: tableWindows, Key: []string{"entity_type", "entity_id", "window_duration"},
		Needs: []string{"entity_type", "entity_id", "window_duration", "window_start", "spend"}, From: whole(tableWindows),
		Convert: converting(tableWindows, func(w *windowRow) string {
			return string(w.EntityType) + "/" + string(w.EntityID) + "/" + string(w.Duration)
		}, convertWindow),
	}}
}
