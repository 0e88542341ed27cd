package auth

import (
	"time"

	"sluice/proxy/budget"
	"sluice/proxy/limit"
	"sluice/proxy/money"
)

// standing is an object that a caller stands under, with its budget object.
type standing struct {
	capped *capped
	budget *object
	loose  bool // it is charged, and its budget does not refuse
}

// standings are the objects that stand over a call of a key, in the order in
// which they are asked. Of what is missing there is nothing.
func (v *view) standings() (out [7]standing) {
	memberBudget := v.budget
	if memberBudget == nil {
		memberBudget = v.budgets.member
	}
	out[0] = standing{capped: v.key.capped, budget: v.budgets.key}
	for i, s := range [...]struct{ o, b *object }{
		{v.user, v.budgets.user},
		{v.team, v.budgets.team},
		{v.member, memberBudget},
		{v.org, v.budgets.org},
		{v.orgMember, v.budgets.orgMember},
		{v.project, v.budgets.project},
	} {
		if s.o != nil && s.o.capped != nil {
			out[i+1] = standing{capped: s.o.capped, budget: s.b}
		}
	}
	// LiteLLM asks for the budget of a user only where its key has no team.
	out[1].loose = v.team != nil
	if v.orgMember != nil && (v.org == nil || v.orgMember.id != memberID(v.org.id, v.key.key.UserID)) {
		out[5] = standing{} // the team has moved to another organization since the key was read
	}
	return out
}

// Limits appends the limits of requests, tokens and parallel requests that hold
// for a call: those of everything that stands over the key, for all models and
// for the one asked for. Nobody limits the master key. It allocates nothing
// beyond dst once the objects were used.
func (k *Keys) Limits(who *Identity, m *Model, dst []*limit.Rule) []*limit.Rule {
	if who.view.key == nil {
		return dst
	}
	for _, s := range who.view.standings() {
		if s.capped == nil {
			continue
		}
		p := s.capped.of(s.budget, k.zone, time.Now)
		if p.rule != nil {
			dst = append(dst, p.rule)
		}
		if p.rules != nil {
			if r := p.rules[m.Name]; r != nil {
				dst = append(dst, r)
			} else if r := p.rules[m.Target]; r != nil {
				dst = append(dst, r)
			}
		}
	}
	return dst
}

// Budgets appends the accounts that a call is charged to, with what they may
// spend: those of everything that stands over the key, and of the key for the
// model asked for. The first account of an object is its own spend; further ones
// are windows of the same spend. Of the master key its user alone is charged.
func (k *Keys) Budgets(who *Identity, m *Model, dst []*budget.Limit) []*budget.Limit {
	if who.view.key == nil {
		if who.Master {
			dst = append(dst, k.adminAccount)
		}
		return dst
	}
	for _, s := range who.view.standings() {
		if s.capped == nil {
			continue
		}
		p := s.capped.of(s.budget, k.zone, time.Now)
		if s.loose {
			dst = append(dst, p.counted)
			continue
		}
		dst = append(dst, p.accounts...)
		if p.budgets != nil {
			if b := p.budgets[m.Name]; b != nil {
				dst = append(dst, b)
			} else if b := p.budgets[m.Target]; b != nil {
				dst = append(dst, b)
			}
		}
	}
	return dst
}

// Tags are the tags that every call of the caller has: those of its key, its
// team and its project. They are shared.
func (who *Identity) Tags() (out [3][]string) {
	v := &who.view
	if v.key != nil {
		out[0] = v.key.tags
	}
	if v.team != nil {
		out[1] = v.team.tags
	}
	if v.project != nil {
		out[2] = v.project.tags
	}
	return out
}

// MayTag reports whether the caller's requests may carry tags of their own
// (allow_client_tags of the key or its team).
func (who *Identity) MayTag() bool {
	v := &who.view
	return who.Master || v.key != nil && v.key.mayTag || v.team != nil && v.team.mayTag
}

// Left is a budget over the caller, as metrics show it.
type Left struct {
	Limit *budget.Limit
	Alias string
	Spend money.Nano // when the object was read last; of a key, and what calls of this process have cost since
}

// Left lists the budgets that bound what the caller may spend.
func (k *Keys) Left(who *Identity) []Left {
	if who.view.key == nil {
		return nil
	}
	var out []Left
	for _, s := range who.view.standings() {
		if s.capped == nil || s.loose {
			continue
		}
		if l := s.capped.of(s.budget, k.zone, time.Now).accounts[0]; l.Max >= 0 {
			out = append(out, Left{Limit: l, Alias: s.capped.alias, Spend: s.capped.spend + money.Nano(s.capped.since.Load())})
		}
	}
	return out
}

// KeyLimits are the limits of the key itself, for the headers of an answer: its
// own and those of a model; nil where there are none.
func (k *Keys) KeyLimits(who *Identity, m *Model) (all, model *limit.Rule, spends *budget.Limit) {
	if who.view.key == nil {
		return nil, nil, nil
	}
	p := who.view.key.capped.of(who.view.budgets.key, k.zone, time.Now)
	if model = p.rules[m.Name]; model == nil {
		model = p.rules[m.Target]
	}
	return p.rule, model, p.accounts[0]
}

// Spent notes that a call of the caller's key has cost so much.
func (who *Identity) Spent(cost money.Nano) {
	if k := who.view.key; k != nil && cost != 0 {
		k.capped.since.Add(int64(cost))
	}
}

// KeySpend is what the caller's key has spent, as far as this process knows
// without asking: what the database said when the key was read, and what calls
// of this process have cost since.
func (who *Identity) KeySpend() money.Nano {
	k := who.view.key
	if k == nil {
		return 0
	}
	return k.capped.spend + money.Nano(k.capped.since.Load())
}

// maxDefaults bounds the models that a key has default limits for at once.
const maxDefaults = 256

// DefaultLimits is the limit that a deployment gives every key for its model
// (default_api_key_rpm_limit, default_api_key_tpm_limit; negative: none), where
// the key has none of its own for it; nil where there is none. group is the
// model's name.
func (k *Keys) DefaultLimits(who *Identity, m *Model, group string, requests, tokens int64) *limit.Rule {
	if who.view.key == nil || requests < 0 && tokens < 0 {
		return nil
	}
	p := who.view.key.capped.of(who.view.budgets.key, k.zone, time.Now)
	if p.rules[m.Name] != nil || p.rules[m.Target] != nil {
		return nil
	}
	var known map[string]*limit.Rule
	if at := p.defaults.Load(); at != nil {
		known = *at
		if r := known[group]; r != nil && r.Requests == requests && r.Tokens == tokens {
			return r
		}
	}
	next := make(map[string]*limit.Rule, len(known)+1)
	if len(known) < maxDefaults {
		for name, r := range known {
			next[name] = r
		}
	}
	r := limit.NewRule(limit.ScopeKeyModel, who.view.key.key.Token+"/"+group, requests, tokens, -1)
	next[group] = r
	p.defaults.Store(&next)
	return r
}
