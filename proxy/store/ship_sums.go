package store

import (
	"cmp"
	"slices"
	"strings"

	"sluice/proxy/bill"
	"sluice/proxy/money"
)

// counted are the kinds whose objects have a spend of their own, in the order in
// which they are written.
var counted = [...]bill.Kind{
	bill.KindKey, bill.KindUser, bill.KindTeam, bill.KindMember, bill.KindOrganization, bill.KindOrganizationMember,
	bill.KindProject, bill.KindCustomer, bill.KindTag,
}

// sums are what the inserted rows of a batch add up to.
type sums struct {
	rows int
	cost money.Nano

	objects [len(counted)]map[pair]*spent
	windows map[account]*spent
	leases  map[lease]money.Nano
	days    map[dayKey]*daySum

	// What a row is often like the one before it: its sums need not be looked for.
	lastDay dayKey
	lastSum *daySum
}

// pair is the key of an object: the second part is of members.
type pair struct{ id, user string }

func (a pair) compare(b pair) int {
	return cmp.Or(strings.Compare(a.id, b.id), strings.Compare(a.user, b.user))
}

type account struct {
	kind     bill.Kind
	id       string
	duration string
}

func (a account) compare(b account) int {
	return cmp.Or(strings.Compare(a.kind.String(), b.kind.String()), strings.Compare(a.id, b.id), strings.Compare(a.duration, b.duration))
}

type lease struct {
	holder string
	account
}

func (a lease) compare(b lease) int {
	return cmp.Or(strings.Compare(a.holder, b.holder), a.account.compare(b.account))
}

// spent is what is added to an object or window: plain, which counts in any
// window, and cost, which counts in the window that began at start.
type spent struct {
	plain, cost, total money.Nano
	start              int64 // unix seconds, 0: cost is 0
}

// add adds what belongs to the window that began at start, 0 for all time. Of
// several windows only the newest one can be the present one.
func (s *spent) add(cost money.Nano, start int64) {
	s.total += cost
	switch {
	case start == 0:
		s.plain += cost
	case start > s.start:
		s.start, s.cost = start, cost
	case start == s.start:
		s.cost += cost
	}
}

// dayKey is the key of a row of daily_spend.
type dayKey struct {
	kind                                     string // "", tag, customer
	day                                      int64  // days since 1970
	id                                       string
	token, user, team, organization, project string
	group, model, provider, endpoint         string
}

func (a *dayKey) compare(b *dayKey) int {
	if c := cmp.Or(strings.Compare(a.kind, b.kind), cmp.Compare(a.day, b.day), strings.Compare(a.id, b.id), strings.Compare(a.token, b.token)); c != 0 {
		return c
	}
	return cmp.Or(strings.Compare(a.user, b.user), strings.Compare(a.team, b.team), strings.Compare(a.organization, b.organization),
		strings.Compare(a.project, b.project), strings.Compare(a.group, b.group), strings.Compare(a.model, b.model),
		strings.Compare(a.provider, b.provider), strings.Compare(a.endpoint, b.endpoint))
}

// daySum is the counters of a row of daily_spend.
type daySum struct {
	prompt, completion, cacheRead, cacheWrite, reasoning int64
	spend                                                money.Nano
	requests, good                                       int64
}

func (s *daySum) add(r *bill.Attempt) {
	u := &r.Usage
	s.prompt += u.Input
	s.completion += u.Output
	s.cacheRead += u.CachedIn
	s.cacheWrite += u.CacheWrite
	s.reasoning += u.Reasoning
	s.spend += r.Cost
	s.requests++
	if r.Status == bill.StatusSuccess {
		s.good++
	}
}

const daySeconds = 24 * 60 * 60

// newSums adds up the rows that were inserted.
func newSums(b *Batch, inserted []bool) *sums {
	s := &sums{windows: map[account]*spent{}, leases: map[lease]money.Nano{}, days: map[dayKey]*daySum{}}
	for i := range s.objects {
		s.objects[i] = map[pair]*spent{}
	}
	for i := range b.Rows {
		pauseAfter(i)
		if !inserted[i] && !doubleShip() {
			continue
		}
		r := b.Rows[i]
		s.rows++
		s.cost += r.Cost
		s.addAccounts(r)
		if !b.Uncounted {
			s.addObjects(r)
			s.addDays(r)
		}
	}
	return s
}

// addAccounts counts in the windows of budgets and takes from leases.
func (s *sums) addAccounts(r *bill.Attempt) {
	if r.Cost == 0 {
		return
	}
	for i := range r.Accounts {
		a := &r.Accounts[i]
		k := account{a.Kind, kept(a.ID), a.Window}
		at(s.windows, k).add(r.Cost, a.Start)
		if a.Leased && r.Holder != "" {
			s.leases[lease{r.Holder, k}] += r.Cost
		}
	}
}

// addObjects counts in the objects that the row names.
func (s *sums) addObjects(r *bill.Attempt) {
	customer := kept(r.EndUser)
	for i, k := range counted {
		var p pair
		switch k {
		case bill.KindKey:
			p.id = r.Token
		case bill.KindUser:
			p.id = kept(r.User)
		case bill.KindTeam:
			p.id = kept(r.Team)
		case bill.KindMember:
			if r.Team == "" || r.User == "" {
				continue
			}
			p = pair{kept(r.Team), kept(r.User)}
		case bill.KindOrganization:
			p.id = kept(r.Organization)
		case bill.KindOrganizationMember:
			if r.Organization == "" || r.User == "" {
				continue
			}
			p = pair{kept(r.Organization), kept(r.User)}
		case bill.KindProject:
			p.id = kept(r.Project)
		case bill.KindCustomer:
			p.id = customer
		case bill.KindTag:
			for n, tag := range r.Tags {
				if !slices.Contains(r.Tags[:n], tag) { // not twice for one call
					s.addObject(i, k, pair{id: kept(tag)}, r)
				}
			}
			continue
		}
		s.addObject(i, k, p, r)
	}
}

func (s *sums) addObject(i int, k bill.Kind, p pair, r *bill.Attempt) {
	// A customer is known from its first call, whatever that cost.
	if p.id == "" || r.Cost == 0 && (k != bill.KindCustomer || r.Status == bill.StatusRejected) {
		return
	}
	at(s.objects[i], p).add(r.Cost, startOf(r, k, p))
}

// startOf is the window that an object's own spend is of: that of the first
// account which the attempt has of it.
func startOf(r *bill.Attempt, k bill.Kind, p pair) int64 {
	for i := range r.Accounts {
		a := &r.Accounts[i]
		if a.Kind != k {
			continue
		}
		if p.user == "" && a.ID == p.id || p.user != "" && len(a.ID) == len(p.id)+1+len(p.user) &&
			strings.HasPrefix(a.ID, p.id) && a.ID[len(p.id)] == '/' && strings.HasSuffix(a.ID, p.user) {
			return a.Start
		}
	}
	return 0
}

// addDays counts in the sums by day.
func (s *sums) addDays(r *bill.Attempt) {
	k := dayKey{
		day: floorDiv(r.Intent.At/1e9, daySeconds), token: r.Token, user: short(r.User), team: short(r.Team), organization: short(r.Organization),
		project: short(r.Project), group: short(r.Model), model: short(r.ProviderModel), provider: short(r.Provider), endpoint: short(r.CallType),
	}
	if s.lastSum == nil || k != s.lastDay {
		s.lastDay, s.lastSum = k, at(s.days, k)
	}
	s.lastSum.add(r)
	for i, tag := range r.Tags {
		if slices.Contains(r.Tags[:i], tag) {
			continue
		}
		k.kind, k.id = "tag", short(tag)
		at(s.days, k).add(r)
	}
	if r.EndUser != "" {
		k.kind, k.id = "customer", short(r.EndUser)
		at(s.days, k).add(r)
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// at is the value of a key, made where there is none.
func at[K comparable, V any](m map[K]*V, k K) *V {
	v := m[k]
	if v == nil {
		v = new(V)
		m[k] = v
	}
	return v
}

// sorted are the keys of a map in order.
func sorted[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, compare)
	return out
}
