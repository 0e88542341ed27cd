package litellm

import (
	"encoding/json"
	"strings"

	"sluice/proxy/identity"
)

// unheld are limits that LiteLLM holds and nothing here does. They are kept, so
// that who reads the object finds them, and told: what limited a key there must
// not be gone without a word.
var unheld = []struct {
	field   string
	instead string // what to do
}{
	{"tpd_limit", "tokens are not limited by the day here; give a tpm_limit, or a max_budget with a budget_duration of 1d"},
	{"tag_rpm_limit", "give each tag an rpm_limit of its own, which holds for all of its requests"},
	{"rpm_limit_type", whyStrict},
	{"tpm_limit_type", whyStrict},
	{"model_itpm_limit", whySides},
	{"model_otpm_limit", whySides},
	{"model_max_budget", "budgets of single models are those of keys here; set it on the keys, or on the budget that they name"},
	{"budget_fallbacks", "a model whose budget is used up is refused here; set fallbacks in the configuration"},
	{"throttle_on_budget_exceeded", "a budget that is used up refuses here"},
	{"end_user_budget_id", "a customer's budget is its own, or max_end_user_budget_id of the configuration for all of them"},
}

const (
	whyStrict = "limits hold at all times and for everybody here, which is best_effort_throughput"
	whySides  = "model_tpm_limit counts the tokens that token_rate_limit_type of the configuration says"
)

// effectless tells of each limit in the settings or the metadata of an object
// that is kept and limits nothing. Budgets of single models that hold, those of
// keys and budgets, are in neither.
func (r *row) effectless(settings, metadata identity.Fields) {
	for _, l := range unheld {
		if limits(settings[l.field]) || limits(metadata[l.field]) {
			r.report(l.field + " is kept without effect: " + l.instead)
		}
	}
}

// limits reports whether a value says something that would be held in LiteLLM.
// What says no more than that there is no limit does not, and neither does the
// type of limit that all are here.
func limits(v json.RawMessage) bool {
	switch strings.TrimSpace(string(v)) {
	case "false", `"best_effort_throughput"`:
		return false
	}
	return !empty(v)
}
