package config

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"sluice/internal/env"
	"sluice/proxy/money"
	"sluice/proxy/window"
)

// Spend is the part of general_settings that says what is limited, what is
// charged, and what is written down about it.
type Spend struct {
	GlobalParallel   *int64        `cfg:"global_max_parallel_requests"` // nil: no bound
	Parallel         *int64        `cfg:"max_parallel_requests"`        // of each deployment; nil: no bound
	TokenType        string        `cfg:"token_rate_limit_type"`        // total, input or output
	RateWindow       string        `cfg:"rate_limit_window"`            // gcra or fixed
	RejectTags       bool          `cfg:"reject_clientside_metadata_tags"`
	BudgetMode       string        `cfg:"budget_mode"` // strict or optimistic
	OutageAllowance  money.Nano    `cfg:"budget_outage_allowance"`
	DisableRows      bool          `cfg:"disable_spend_logs"`
	DisableErrors    bool          `cfg:"disable_error_logs"`
	DisableSpend     bool          `cfg:"disable_spend_updates"`
	DisableReset     bool          `cfg:"disable_reset_budget"`
	ResetLeast       time.Duration `cfg:"proxy_budget_rescheduler_min_time"`
	ResetMost        time.Duration `cfg:"proxy_budget_rescheduler_max_time"`
	WriteWithin      time.Duration `cfg:"proxy_batch_write_at"`
	StorePrompts     bool          `cfg:"store_prompts_in_spend_logs"`
	Retention        time.Duration `cfg:"maximum_spend_logs_retention_period"` // 0: for ever
	RetentionEvery   time.Duration `cfg:"maximum_spend_logs_retention_interval"`
	RetentionCron    string        `cfg:"maximum_spend_logs_cleanup_cron"`
	JournalSync      string        `cfg:"journal_sync"`          // none, interval or always
	JournalMaxGB     float64       `cfg:"journal_max_gb"`        // GiB; 0: the default
	JournalBodiesMax float64       `cfg:"journal_bodies_max_mb"` // MiB; 0: the default

	WindowSize time.Duration // LITELLM_RATE_LIMIT_WINDOW_SIZE; 60 s

	CostsKey env.Secret // OPENAI_ADMIN_KEY: reads what OpenAI charged the organization
	CostsURL string     // SLUICE_OPENAI_COSTS_URL; "": OpenAI's own
}

// Budgets is the part of litellm_settings that says what may be spent.
type Budgets struct {
	MaxBudget      *money.Nano `cfg:"max_budget"` // nil: no bound
	BudgetDuration string      `cfg:"budget_duration"`
	UserBudget     *money.Nano `cfg:"max_internal_user_budget"`
	UserDuration   string      `cfg:"internal_user_budget_duration"`
	CustomerBudget *money.Nano `cfg:"max_end_user_budget"`
	CustomerID     string      `cfg:"max_end_user_budget_id"`
	TagHeaders     []string    `cfg:"extra_spend_tag_headers"`
	NoAgentTag     bool        `cfg:"disable_add_user_agent_to_request_tags"`
	NoCustomers    bool        `cfg:"disable_end_user_cost_tracking"`
	NoMessages     bool        `cfg:"turn_off_message_logging"`
	IgnoreNoLog    bool        `cfg:"global_disable_no_log_param"`

	TagBudgets map[string]Budget // of tag_budget_config
	Discounts  Objects           // of cost_discount_config
	Margins    Objects           // of cost_margin_config
}

// Budget is an amount over a window.
type Budget struct {
	Max      money.Nano
	Duration string // "": for all time
}

const (
	defaultRateWindow = 60 * time.Second
	defaultWriteAt    = 10 * time.Second
	defaultResetLeast = 597 * time.Second
	defaultResetMost  = 605 * time.Second
	defaultRetention  = 24 * time.Hour
)

// spendDefaults are the values of what the file does not say.
func (f *File) spendDefaults() {
	g := &f.General
	g.TokenType, g.RateWindow, g.BudgetMode, g.JournalSync = "total", "gcra", "strict", "none"
	g.ResetLeast, g.ResetMost, g.WriteWithin, g.RetentionEvery = defaultResetLeast, defaultResetMost, defaultWriteAt, defaultRetention
	g.WindowSize = defaultRateWindow
}

// spend completes what the sections say of spend, once they are read.
func (f *File) spend(r *report, root *value) {
	g, l := &f.General, &f.LiteLLM
	litellm, general, router := root.get("litellm_settings"), root.get("general_settings"), root.get("router_settings")
	l.TagBudgets = budgets(r, "litellm_settings.tag_budget_config", litellm.get("tag_budget_config"))
	l.Discounts = objects(litellm.get("cost_discount_config"))
	l.Margins = objects(litellm.get("cost_margin_config"))
	f.Router.ProviderBudgets = budgets(r, "router_settings.provider_budget_config", router.get("provider_budget_config"))
	if v := general.get("proxy_budget_rescheduler_min_time"); g.ResetLeast > g.ResetMost && v != nil {
		if general.get("proxy_budget_rescheduler_max_time") == nil {
			g.ResetMost = g.ResetLeast
		} else {
			r.errorf(v.at, "general_settings.proxy_budget_rescheduler_min_time", "at most proxy_budget_rescheduler_max_time", "is more than that")
		}
	}
	if l.MaxBudget == nil && l.BudgetDuration != "" {
		r.warnf(litellm.get("budget_duration").at, "litellm_settings.budget_duration", "has no effect without max_budget")
	}
	if l.UserBudget != nil {
		l.UserDefaults = withDefault(l.UserDefaults, "max_budget", l.UserBudget)
	}
	if l.UserDuration != "" {
		l.UserDefaults = withDefault(l.UserDefaults, "budget_duration", l.UserDuration)
	}
	if g.DisableSpend && (l.MaxBudget != nil || l.CustomerBudget != nil || len(l.TagBudgets) > 0 || len(f.Router.ProviderBudgets) > 0) {
		r.warnf(general.get("disable_spend_updates").at, "general_settings.disable_spend_updates", "budgets have no effect: nothing is written of what was spent")
	}
	f.monitoring(r, root.get("settings"), general)
	if n := f.Compat.BudgetStatus; n == 0 {
		f.Compat.BudgetStatus = 429
	} else if n != 400 && n != 429 {
		r.errorf(root.get("compat").get("budget_error_status").at, "compat.budget_error_status", "429 or 400", "is %d", n)
	}
}

// monitoring takes OpenGateLLM's way to say that single calls are not kept.
func (f *File) monitoring(r *report, v, general *value) {
	if v == nil || v.is != mapping {
		return
	}
	for _, e := range v.entries {
		if e.name != "monitoring_postgres_enabled" || e.value.is == null {
			r.add(Note, e.at, join("settings", e.name), "has no effect in this release", "")
			continue
		}
		on, ok := asBool(e.value)
		if !ok {
			r.errorf(e.at, "settings.monitoring_postgres_enabled", Bool.String(), "is %s", shown(Key{Kind: Bool}, e.value))
		} else if general.get("disable_spend_logs") == nil {
			f.General.DisableRows = !on
		}
	}
}

func withDefault(o Objects, name string, value any) Objects {
	if o == nil {
		o = Objects{}
	}
	if raw, err := json.Marshal(value); err == nil && o[name] == nil {
		o[name] = raw
	}
	return o
}

// spendEnviron takes from the environment what the file does not say.
func (f *File) spendEnviron(r *report, secret func(*env.Secret, string)) {
	secret(&f.General.CostsKey, "OPENAI_ADMIN_KEY")
	if f.General.CostsURL = f.Environ.Get("SLUICE_OPENAI_COSTS_URL"); f.General.CostsURL != "" {
		at := Pos{File: "SLUICE_OPENAI_COSTS_URL"}
		if checkURL(r, at, "", f.General.CostsURL); strings.ContainsAny(f.General.CostsURL, "?#@") {
			r.errorf(at, "", "a URL such as https://eu.api.openai.com/v1/organization/costs", "has a user, a query or a fragment")
		}
	}
	s := setting{report: r, environ: f.Environ}
	f.General.WindowSize = s.seconds(f.General.WindowSize, nil, "", "LITELLM_RATE_LIMIT_WINDOW_SIZE", "")
	if w := f.General.WindowSize; w < time.Second || w > time.Hour {
		r.errorf(Pos{File: "LITELLM_RATE_LIMIT_WINDOW_SIZE"}, "", "from 1 second to an hour", "is %s", w)
		f.General.WindowSize = defaultRateWindow
	}
	if f.root.get("general_settings").get("store_prompts_in_spend_logs") == nil {
		f.General.StorePrompts = s.bool("STORE_PROMPTS_IN_SPEND_LOGS")
	}
}

// budgets reads a map of names to budgets, under LiteLLM's two spellings.
func budgets(r *report, path string, v *value) map[string]Budget {
	if v == nil || v.is != mapping {
		return nil
	}
	out := map[string]Budget{}
	for _, e := range v.entries {
		at := join(path, e.name)
		if e.value.is == null {
			continue
		}
		var b struct {
			Max      *money.Nano `cfg:"max_budget,budget_limit"`
			Duration string      `cfg:"budget_duration,time_period"`
		}
		section(r, at, e.value, []Key{
			{Name: "max_budget", Kind: Dollars},
			{Name: "budget_limit", Kind: Dollars},
			{Name: "budget_duration", Kind: Window},
			{Name: "time_period", Kind: Window},
		}, &b, nil)
		if e.value.is == mapping && b.Max == nil {
			r.errorf(e.at, at, "a map with max_budget (budget_limit) and budget_duration (time_period)", "has no amount")
			continue
		}
		if b.Max != nil {
			out[e.name] = Budget{Max: *b.Max, Duration: b.Duration}
		}
	}
	return out
}

// At is where the file says something; only its name where it does not.
func (f *File) At(section, key string) Pos {
	v := f.root.get(section)
	if at := v.get(key); at != nil {
		return at.at
	}
	if v != nil {
		return v.at
	}
	return Pos{File: f.Path}
}

// Enforced reports whether rpm and tpm of deployments are limits, beside being
// weights (optional_pre_call_checks: enforce_model_rate_limits).
func (r *Router) Enforced() bool {
	return slices.Contains(r.PreCallChecks, "enforce_model_rate_limits")
}

// isPrice reports whether a parameter is part of what a deployment costs.
func isPrice(name string) bool {
	return strings.Contains(name, "cost_per_") || strings.Contains(name, "_token_cost") || name == "tiered_pricing" ||
		name == "off_peak_pricing" || name == "search_context_cost_per_query" || strings.HasPrefix(name, "regional_processing_uplift_multiplier")
}

// price keeps a parameter that says what a call costs.
func (p *Params) price(r *report, path string, e entry) {
	if e.value.is == null {
		return
	}
	if e.value.scalar() {
		if n, ok := asFloat(e.value); !ok || n < 0 {
			r.errorf(e.at, join(path, e.name), "dollars, 0 or more", "is %s", shown(Key{}, e.value))
			return
		}
	}
	if p.Prices == nil {
		p.Prices = Objects{}
	}
	if e.value.is == text || e.value.is == number {
		p.Prices[e.name] = json.RawMessage(strings.TrimSpace(e.value.text)) // its decimal text, exactly
		if json.Valid(p.Prices[e.name]) {
			return
		}
	}
	p.Prices[e.name] = e.value.appendJSON(nil)
}

// Amounts are read from their decimal text: no floating point is between what an
// operator writes and what is counted.

func asMoney(v *value) (money.Nano, bool) {
	if v.is != integer && v.is != number && v.is != text {
		return 0, false
	}
	s := strings.TrimSpace(strings.ReplaceAll(v.text, "_", ""))
	if v.is == integer {
		s = wholeText(s)
	}
	n, err := money.Parse(s)
	return n, err == nil && n >= 0
}

func asWindow(v *value) bool {
	if !v.scalar() || v.is == boolean {
		return false
	}
	if v.text == "" {
		return true
	}
	_, err := window.Parse(v.text)
	return err == nil
}
