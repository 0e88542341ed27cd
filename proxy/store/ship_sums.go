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
	leases  map[lease]*money.Nano
	days    map[dayKey]*daySum

	shapes map[shapeKey]*shape
	latest int64 // unix seconds at which a window may have begun by now
}

// shape is a row and the sums that it counted in. Most rows of a key are of the
// same caller, model and windows as its row before: what they count in need not
// be looked for.
type shape struct {
	of     *bill.Attempt
	day    int64
	spent  []share
	leases []*money.Nano
	days   []*daySum
}

// shapeKey tells shapes apart. A call that costs nothing counts in fewer sums.
type shapeKey struct {
	token          string
	free, rejected bool
}

// share is a sum and the window that a row is of there.
type share struct {
	in    *spent
	start int64
}

// fits says that a row counts in the same sums.
func (h *shape) fits(r *bill.Attempt) bool {
	a, b := &h.of.Intent, &r.Intent
	return h.day == dayOf(r) && a.User == b.User && a.Team == b.Team && a.Organization == b.Organization && a.Project == b.Project &&
		a.EndUser == b.EndUser && a.Model == b.Model && a.ProviderModel == b.ProviderModel && a.Provider == b.Provider && a.CallType == b.CallType &&
		a.Token == b.Token && h.of.Holder == r.Holder && slices.Equal(a.Accounts, b.Accounts) && slices.Equal(a.Tags, b.Tags)
}

// add counts a row that fits.
func (h *shape) add(r *bill.Attempt) {
	for _, c := range h.spent {
		c.in.add(r.Cost, c.start)
	}
	for _, l := range h.leases {
		*l += r.Cost
	}
	for _, d := range h.days {
		d.add(r)
	}
}

func dayOf(r *bill.Attempt) int64 { return floorDiv(r.Intent.At/1e9, daySeconds) }

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

// newSums adds up the rows that were inserted. A window that begins after latest,
// in unix seconds, was begun by a clock that was ahead: what is of it counts in
// whichever runs, beside what is of that.
func newSums(b *Batch, inserted []bool, latest int64) *sums {
	s := &sums{latest: latest, windows: map[account]*spent{}, leases: map[lease]*money.Nano{}, days: map[dayKey]*daySum{}, shapes: map[shapeKey]*shape{}}
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
		k := shapeKey{r.Token, r.Cost == 0, r.Status == bill.StatusRejected}
		h := s.shapes[k]
		if h == nil || !h.fits(r) {
			h = s.shape(r, b.Uncounted)
			s.shapes[k] = h
		}
		h.add(r)
	}
	return s
}

// started is the start of a window that has begun, 0 for one that cannot have.
func (s *sums) started(start int64) int64 {
	if start > s.latest {
		return 0
	}
	return start
}

// shape finds, or makes, the sums that a row counts in.
func (s *sums) shape(r *bill.Attempt, uncounted bool) *shape {
	h := &shape{of: r, day: dayOf(r)}
	s.accounts(h, r)
	if !uncounted {
		s.counts(h, r)
		s.dayCounts(h, r)
	}
	return h
}

// accounts are the windows of budgets, and the leases.
func (s *sums) accounts(h *shape, r *bill.Attempt) {
	if r.Cost == 0 {
		return
	}
	for i := range r.Accounts {
		a := &r.Accounts[i]
		k := account{a.Kind, kept(a.ID), a.Window}
		h.spent = append(h.spent, share{at(s.windows, k), s.started(a.Start)})
		if a.Leased && r.Holder != "" {
			h.leases = append(h.leases, at(s.leases, lease{r.Holder, k}))
		}
	}
}

// counts are the objects that the row names.
func (s *sums) counts(h *shape, r *bill.Attempt) {
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
					s.count(h, i, k, pair{id: kept(tag)}, r)
				}
			}
			continue
		}
		s.count(h, i, k, p, r)
	}
}

func (s *sums) count(h *shape, i int, k bill.Kind, p pair, r *bill.Attempt) {
	// A customer is known from its first call, whatever that cost.
	if p.id == "" || r.Cost == 0 && (k != bill.KindCustomer || r.Status == bill.StatusRejected) {
		return
	}
	h.spent = append(h.spent, share{at(s.objects[i], p), s.started(startOf(r, k, p))})
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

// dayCounts are the sums by day.
func (s *sums) dayCounts(h *shape, r *bill.Attempt) {
	k := dayKey{
		day: h.day, token: r.Token, user: short(r.User), team: short(r.Team), organization: short(r.Organization),
		project: short(r.Project), group: short(r.Model), model: short(r.ProviderModel), provider: short(r.Provider), endpoint: short(r.CallType),
	}
	h.days = append(h.days, at(s.days, k))
	for i, tag := range r.Tags {
		if slices.Contains(r.Tags[:i], tag) {
			continue
		}
		k.kind, k.id = "tag", short(tag)
		h.days = append(h.days, at(s.days, k))
	}
	if r.EndUser != "" {
		k.kind, k.id = "customer", short(r.EndUser)
		h.days = append(h.days, at(s.days, k))
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
