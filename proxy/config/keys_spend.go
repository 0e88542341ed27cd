package config

// spendKeys are the rows of general_settings that say what is limited, what is
// charged, and what is written down about it.
func spendKeys() []Key {
	return []Key{
		{Name: "global_max_parallel_requests", Kind: Int, Default: "none", Doc: "model calls at once of all callers but the master key, on each host; more get 429"},
		{Name: "max_parallel_requests", Kind: Int, Default: "none", Doc: "model calls at once of each deployment that has no `max_parallel_requests` itself"},
		{Name: "token_rate_limit_type", Kind: Text, Default: "total", OneOf: []string{"total", "input", "output"}, Doc: "which tokens count towards `tpm_limit`"},
		{Name: "rate_limit_window", Kind: Text, Default: "gcra", OneOf: []string{"gcra", "fixed"}, Doc: "how a limit a minute is counted: `gcra` lets no 60 seconds have more than twice the limit and refills all the time, `fixed` counts in minutes of the clock as LiteLLM does; see limits.md"},
		{Name: "reject_clientside_metadata_tags", Kind: Bool, Default: "false", Doc: "refuse requests that carry tags of their own with 400; else tags of keys and teams without `allow_client_tags` are ignored"},
		{Name: "budget_mode", Kind: Text, Default: "strict", OneOf: []string{"strict", "optimistic"}, Doc: "what is reserved before a call: `strict` the most that it can cost, and the answer is capped at that; `optimistic` an average, and nothing is capped"},
		{Name: "budget_outage_allowance", Kind: Dollars, Default: "0", Doc: "what each host may spend beyond its leases while the database is away, in dollars; see budgets.md"},
		{Name: "disable_spend_logs", Kind: Bool, Default: "false", Doc: "keep no rows of single calls; sums stay exact"},
		{Name: "disable_error_logs", Kind: Bool, Default: "false", Doc: "keep no rows of calls that failed or were refused"},
		{Name: "disable_spend_updates", Kind: Bool, Default: "false", Doc: "write nothing about spend to the database: budgets have no effect then"},
		{Name: "disable_reset_budget", Kind: Bool, Default: "false", Doc: "the spend that objects show is not set to 0 at the end of a budget's window; what a budget refuses follows its window all the same"},
		{Name: "proxy_budget_rescheduler_min_time", Kind: Seconds, Default: "597", Doc: "least time between two looks for budgets whose window has ended"},
		{Name: "proxy_budget_rescheduler_max_time", Kind: Seconds, Default: "605", Doc: "longest time likewise"},
		{Name: "proxy_batch_write_at", Kind: Seconds, Default: "10", Doc: "longest time until what a call cost is in the database; usually a second"},
		{Name: "store_prompts_in_spend_logs", Kind: Bool, Default: "`STORE_PROMPTS_IN_SPEND_LOGS`, false", Doc: "keep requests and answers beside the rows of spend. They may be lost, rows are not"},
		{Name: "maximum_spend_logs_retention_period", Kind: Seconds, Default: "for ever", Doc: "how long rows of spend are kept, as in 30d; sums stay"},
		{Name: "maximum_spend_logs_retention_interval", Kind: Seconds, Default: "1d", Doc: "how often old rows are looked for"},
		{Name: "maximum_spend_logs_cleanup_cron", Kind: Text, Doc: "when old rows are looked for, in place of the interval: minute, hour, day of the month, month, day of the week"},
		{Name: "spend_capture_rate_check", Kind: Map, Use: Guards, Doc: "nothing is compared by itself; ask `/spend/capture_rate`"},
		{Name: "journal_sync", Kind: Text, Default: "none", OneOf: []string{"none", "interval", "always"}, Doc: "what a record of a call survives: `none` the death of every process, `interval` also a power cut but for the last 10 ms, `always` that too; see journal.md"},
		{Name: "journal_max_gb", Kind: Amount, Default: "8, at most 60 % of what is free", Doc: "bound of what waits to be written to the database, in GiB; at it model calls get 503"},
		{Name: "journal_bodies_max_mb", Kind: Megabyte, Default: "256", Doc: "bound of kept requests and answers that wait likewise; beyond it they are dropped"},
	}
}

// budgetKeys are the rows of litellm_settings that say what may be spent.
func budgetKeys() []Key {
	return []Key{
		{Name: "max_budget", Kind: Dollars, Doc: "budget of everything together, in dollars"},
		{Name: "budget_duration", Kind: Window, Doc: "its window, as in 30d; without one it is for all time"},
		{Name: "max_internal_user_budget", Kind: Dollars, Doc: "budget that `/user/new` gives where none is sent"},
		{Name: "internal_user_budget_duration", Kind: Window, Doc: "its window"},
		{Name: "max_end_user_budget", Kind: Dollars, Doc: "budget of every customer that has none of its own, for all time"},
		{Name: "max_end_user_budget_id", Kind: Text, Doc: "the budget object of every customer that has none of its own; wins over `max_end_user_budget`"},
		{Name: "tag_budget_config", Kind: Map, Doc: "budgets of tags, as `tag: {max_budget: dollars, budget_duration: 1d}`"},
		{Name: "cost_discount_config", Kind: Map, Doc: "parts of the price that a provider takes off, as `provider: 0.05`"},
		{Name: "cost_margin_config", Kind: Map, Doc: "what is charged on top, as `provider: 0.1` or `{percentage: 0.1, fixed_amount: 0.001}`; `global` for all others"},
		{Name: "extra_spend_tag_headers", Kind: Texts, Doc: "headers of a request whose values become tags of its spend, as `name: value`"},
		{Name: "disable_add_user_agent_to_request_tags", Kind: Bool, Default: "false", Doc: "do not make the client's User-Agent a tag of its spend"},
		{Name: "disable_end_user_cost_tracking", Kind: Bool, Default: "false", Doc: "do not count what customers spend; their budgets have no effect then"},
		{Name: "turn_off_message_logging", Kind: Bool, Default: "false", Doc: "keep no requests and answers, whatever `store_prompts_in_spend_logs` says. Nothing of them is ever in the log"},
		{Name: "global_disable_no_log_param", Kind: Bool, Default: "false", Doc: "`no-log` of a request does not keep it from being stored"},
	}
}
