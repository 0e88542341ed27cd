package app

import (
	"cmp"
	"reflect"

	"sluice/proxy/config"
	"sluice/proxy/gateway"
	"sluice/proxy/ledger"
)

// terms are what the configuration says of all calls.
func terms(file *config.File) gateway.Terms {
	g, l := &file.General, &file.LiteLLM
	t := gateway.Terms{
		Parallel: g.GlobalParallel, Zone: l.Zone, Optimistic: g.BudgetMode == "optimistic", BudgetStatus: file.Compat.BudgetStatus,
		RejectTags: g.RejectTags, NoRejects: g.DisableErrors, NoCustomers: l.NoCustomers, AgentTag: !l.NoAgentTag,
		TagHeaders: l.TagHeaders, Keep: g.StorePrompts && !l.NoMessages, IgnoreNoLog: l.IgnoreNoLog,
	}
	if l.MaxBudget != nil {
		t.Budget = &gateway.Budget{Max: *l.MaxBudget, Duration: l.BudgetDuration}
	}
	if of := file.Router.ProviderBudgets; len(of) > 0 {
		t.Providers = make(map[string]gateway.Budget, len(of))
		for name, b := range of {
			t.Providers[name] = gateway.Budget{Max: b.Max, Duration: b.Duration}
		}
	}
	return t
}

// modelTerms are what it says of one deployment.
func modelTerms(file *config.File, d *config.Deployment) gateway.ModelTerms {
	p := &d.Params
	t := gateway.ModelTerms{
		Enforced: file.Router.Enforced(), KeyRequests: p.KeyRPM, KeyTokens: p.KeyTPM,
		Parallel: cmp.Or(p.Parallel, file.Router.Parallel, file.General.Parallel),
	}
	if p.MaxBudget != nil {
		t.Budget = &gateway.Budget{Max: *p.MaxBudget, Duration: p.BudgetDuration}
	}
	return t
}

// lasting names the settings that differ in two configurations and that a worker
// goes by from its start to its end: what is counted and written down goes on
// through reloads.
func lasting(old, now *config.File) []string {
	var out []string
	a, b := &old.General, &now.General
	for _, s := range []struct {
		name string
		same bool
	}{
		{"token_rate_limit_type", a.TokenType == b.TokenType},
		{"rate_limit_window", a.RateWindow == b.RateWindow},
		{"LITELLM_RATE_LIMIT_WINDOW_SIZE", a.WindowSize == b.WindowSize},
		{"budget_outage_allowance", a.OutageAllowance == b.OutageAllowance},
		{"disable_spend_logs", a.DisableRows == b.DisableRows},
		{"disable_error_logs", a.DisableErrors == b.DisableErrors},
		{"disable_spend_updates", a.DisableSpend == b.DisableSpend},
		{"disable_reset_budget", a.DisableReset == b.DisableReset},
		{"proxy_budget_rescheduler_min_time", a.ResetLeast == b.ResetLeast},
		{"proxy_budget_rescheduler_max_time", a.ResetMost == b.ResetMost},
		{"proxy_batch_write_at", a.WriteWithin == b.WriteWithin},
		{"maximum_spend_logs_retention_period", a.Retention == b.Retention},
		{"maximum_spend_logs_retention_interval", a.RetentionEvery == b.RetentionEvery},
		{"maximum_spend_logs_cleanup_cron", a.RetentionCron == b.RetentionCron},
		{"journal_sync", a.JournalSync == b.JournalSync},
		{"journal_max_gb", a.JournalMaxGB == b.JournalMaxGB},
		{"journal_bodies_max_mb", a.JournalBodiesMax == b.JournalBodiesMax},
		{"how Redis is reached", reflect.DeepEqual(old.Router.Redis, now.Router.Redis)},
	} {
		if !s.same {
			out = append(out, s.name)
		}
	}
	return out
}

// retentionCron is when old rows of spend are looked for; nil where only the
// interval says.
func retentionCron(file *config.File) (*ledger.Cron, error) {
	if file.General.RetentionCron == "" {
		return nil, nil
	}
	return ledger.ParseCron(file.General.RetentionCron, file.LiteLLM.Zone)
}

// spendProblems are what is wrong with the settings of spend that only those who
// use them can read.
func spendProblems(file *config.File) config.Problems {
	var out config.Problems
	if _, err := retentionCron(file); err != nil {
		out = append(out, config.Problem{
			At: file.At("general_settings", "maximum_spend_logs_cleanup_cron"), Severity: config.Error, Text: err.Error(),
			Key: "general_settings.maximum_spend_logs_cleanup_cron",
		})
	}
	costs, err := newPrices(file, func(problem string) {
		out = append(out, config.Problem{At: config.Pos{File: envPrices}, Severity: config.Warning, Text: problem})
	})
	if err != nil {
		out = append(out, config.Problem{At: file.At("litellm_settings", ""), Severity: config.Error, Text: err.Error(), Key: "litellm_settings"})
		return out
	}
	for _, d := range file.Models {
		if own := costs.own(d); len(own) > 0 {
			if err := costs.check(own); err != nil {
				out = append(out, config.Problem{At: d.At, Severity: config.Warning, Text: err.Error() + "; its own prices are left out", Key: "model_list"})
			}
		}
	}
	return out
}
