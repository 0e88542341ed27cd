package auth

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/budget"
	"sluice/proxy/identity"
	"sluice/proxy/limit"
	"sluice/proxy/money"
	"sluice/supervisor/fleet"
)

// maxSpenders bounds the customers with budgets of their own that a process
// knows, and the tags with budgets. Those beyond it, the ones that were changed
// longest ago, count as if they had none, which is in the log: the budget of all
// customers still holds for them.
const maxSpenders = 100_000

// spenders are the end users and tags that have budgets. Requests make names of
// both up, so looking each one up would let clients choose how much is asked of
// the database: the few that have budgets are kept whole.
type spenders struct {
	set     atomic.Pointer[spenderSet]
	dirty   atomic.Bool
	reading atomic.Bool // what was dirty is being read
	whole   atomic.Bool // changes were missed: all are to be read
	// everybody is the budget object of customers that have none of their own.
	everybody atomic.Pointer[string]

	told   bool   // that there are too many; the looking goroutine's
	missed bool   // the budget of all customers is not there; likewise
	kept   string // what the snapshot has; likewise
}

// spenderSet is who has which budget. It is immutable.
type spenderSet struct {
	newest    int64             // number of the newest change of a customer in it
	customers map[string]string // id → budget id
	tags      map[string]string
	budgets   map[string]*object
	hashes    map[uint64]bool // of the ids of the budgets, as changes tell them
	more      bool            // there are customers that found no room
}

func newSpenderSet() *spenderSet {
	return &spenderSet{customers: map[string]string{}, tags: map[string]string{}, budgets: map[string]*object{}, hashes: map[uint64]bool{}}
}

func (s *spenders) init() {
	s.set.Store(newSpenderSet())
	s.spoilAll()
}

func (s *spenders) spoil() { s.dirty.Store(true) }

func (s *spenders) spoilAll() {
	s.whole.Store(true)
	s.dirty.Store(true)
}

// useDefaultBudget says which budget object holds for customers that have none of
// their own.
func (d *Directory) useDefaultBudget(id string) {
	if old := d.spenders.everybody.Swap(&id); (old == nil && id != "") || old != nil && *old != id {
		d.spenders.spoil()
		d.poke()
	}
}

// settle waits until what has changed of the budgets of customers and tags is
// read, for as long as a lookup may take. Where the database is away they are as
// they were.
func (d *Directory) settle() {
	s, c := &d.spenders, &d.customers
	if !s.doubted() {
		return
	}
	timer := time.NewTimer(d.c.Wait)
	defer timer.Stop()
	for s.doubted() && !c.failed.Load() && !d.failing() {
		c.mu.Lock()
		read := c.read
		c.mu.Unlock()
		if !s.doubted() {
			return
		}
		select {
		case <-read:
		case <-timer.C:
			return
		}
	}
}

// doubted reports whether some may have changed since they were read.
func (s *spenders) doubted() bool { return s.dirty.Load() || s.reading.Load() }

// uses reports whether a budget object, by the hash of its id, is one of theirs.
func (s *spenders) uses(hash uint64) bool { return s.set.Load().hashes[hash] }

// readSpenders reads who has budgets: all, or what has changed. changed are the
// hashes of the customers that have.
func (d *Directory) readSpenders(ctx context.Context, changed map[uint64]struct{}) error {
	s, old := &d.spenders, d.spenders.set.Load()
	whole := s.whole.Swap(false) || old.more
	s.reading.Store(true) // before dirty ends: nobody sees neither
	defer s.reading.Store(false)
	s.dirty.Store(false)
	q := identity.SpendersQuery{Most: maxSpenders, After: -1}
	if !whole {
		q.After, q.Budgets = old.newest, slices.Collect(maps.Keys(old.budgets))
		if len(changed) > 0 {
			for id := range old.customers {
				if _, ok := changed[fleet.HashID(id)]; ok {
					q.IDs = append(q.IDs, id)
				}
			}
		}
	}
	if id := s.everybody.Load(); id != nil && *id != "" {
		q.Budgets = append(q.Budgets, *id)
	}
	found, err := d.c.Source.Spenders(ctx, q)
	if err != nil {
		s.spoilAll()
		return err
	}
	next := newSpenderSet()
	if !whole {
		next.newest = old.newest
		next.customers = maps.Clone(old.customers)
		for _, id := range q.IDs {
			delete(next.customers, id) // it is in the answer if it still has a budget
		}
	}
	next.fill(found)
	d.expectDefault(next)
	s.set.Store(next)
	d.keepSpenders(next, found, whole)
	if next.more && !s.told {
		d.log.Error("too many customers have budgets of their own: the budgets of those that were changed longest ago have no effect",
			slog.Int("most", maxSpenders))
	}
	s.told = next.more
	return nil
}

// expectDefault has the budget of all customers read when somebody makes it, and
// says once that there is none yet: until then nothing bounds them.
func (d *Directory) expectDefault(next *spenderSet) {
	s, id := &d.spenders, d.spenders.everybody.Load()
	missing := id != nil && *id != "" && next.budgets[*id] == nil
	if missing {
		next.hashes[fleet.HashID(*id)] = true
	}
	if missing && !s.missed {
		d.log.Warn("there is no budget of the id that max_end_user_budget_id names: customers without a budget of their own have none", slog.String("budget_id", *id))
	}
	s.missed = missing
}

func (n *spenderSet) fill(found *identity.Spenders) {
	for _, c := range found.Customers {
		n.customers[c.ID] = c.BudgetID
		n.newest = max(n.newest, c.Number)
	}
	for _, t := range found.Tags {
		n.tags[t.ID] = t.BudgetID
	}
	for _, b := range found.Budgets {
		n.budgets[b.ID] = &object{kind: identity.KindBudget, id: b.ID, capped: budgetCaps(b), number: b.ChangeNumber}
		n.hashes[fleet.HashID(b.ID)] = true
	}
	n.more = found.More
}

// spendersName is the name of the customers and tags with budgets in the
// snapshot.
const spendersName = "spenders"

// maxKeptSpenders bounds what the snapshot remembers of them.
const maxKeptSpenders = 10_000

// keepSpenders gives the snapshot who has budgets, so that they hold for workers
// which are born while the database is away.
func (d *Directory) keepSpenders(set *spenderSet, found *identity.Spenders, whole bool) {
	if d.c.Snapshot == nil || len(set.customers)+len(set.tags) > maxKeptSpenders {
		return
	}
	all := *found
	if !whole {
		all.Customers = nil
		for _, id := range slices.Sorted(maps.Keys(set.customers)) {
			all.Customers = append(all.Customers, identity.Spender{ID: id, BudgetID: set.customers[id]})
		}
	}
	raw, err := json.Marshal(&all)
	if err != nil || string(raw) == d.spenders.kept || d.c.Snapshot.Put(spendersName, raw) != nil {
		return
	}
	d.spenders.kept = string(raw)
}

// recallSpenders takes over what the snapshot remembers.
func (d *Directory) recallSpenders() {
	if d.c.Snapshot == nil {
		return
	}
	raw, ok := d.c.Snapshot.Get(spendersName)
	var found identity.Spenders
	if !ok || json.Unmarshal(raw, &found) != nil {
		return
	}
	set := newSpenderSet()
	set.fill(&found)
	d.spenders.set.Store(set)
}

// Account is what a customer or a tag is charged to, and what limits it.
type Account struct {
	Rule    *limit.Rule     // nil: no limits
	Budgets []*budget.Limit // the first is its own spend

	until int64 // unix nanoseconds after which it does not hold; 0: for good
}

// accounts prepares the accounts of customers and tags and remembers them. One
// belongs to a generation of the configuration and to one state of the budgets.
type accounts struct {
	set    *spenderSet
	shards [16]struct {
		sync.RWMutex
		known [2]map[string]*Account // customers, tags
	}
}

const (
	customerAccount = iota
	tagAccount
)

// maxAccounts bounds what is remembered in a shard of a kind, and longestName of
// what length in bytes.
const (
	maxAccounts = 1024
	longestName = 1024
)

// Customer is the account of an end user.
func (k *Keys) Customer(id []byte) *Account { return k.account(customerAccount, id) }

// Tag is the account of a tag.
func (k *Keys) Tag(name []byte) *Account { return k.account(tagAccount, name) }

func (k *Keys) account(kind int, name []byte) *Account {
	set := noSpenders
	if k.directory != nil {
		k.directory.settle()
		set = k.directory.spenders.set.Load()
	}
	all := k.accounts.Load()
	if all == nil || all.set != set {
		all = &accounts{set: set}
		k.accounts.Store(all)
	}
	var hash uint32
	for _, c := range name {
		hash = hash*16777619 ^ uint32(c)
	}
	s := &all.shards[(hash>>8^hash)%16]
	s.RLock()
	a := s.known[kind][string(name)]
	s.RUnlock()
	if a != nil && (a.until == 0 || time.Now().UnixNano() < a.until) {
		return a
	}
	a = k.prepareAccount(set, kind, string(name))
	if len(name) > longestName { // clients choose how long
		return a
	}
	s.Lock()
	if len(s.known[kind]) >= maxAccounts || s.known[kind] == nil {
		s.known[kind] = map[string]*Account{}
	}
	s.known[kind][string(name)] = a
	s.Unlock()
	return a
}

var noSpenders = newSpenderSet()

// prepareAccount makes the account of a customer or tag: with its own budget,
// else with the one that the configuration gives to all.
func (k *Keys) prepareAccount(set *spenderSet, kind int, name string) *Account {
	c := &capped{id: name, kind: bill.KindTag, scope: limit.ScopeTag}
	b := set.budgets[set.tags[name]]
	if kind == customerAccount {
		c.kind, c.scope = bill.KindCustomer, limit.ScopeCustomer
		if b = set.budgets[set.customers[name]]; b == nil {
			b = set.budgets[k.customerBudget]
		}
		if b == nil && k.customerMax != nil {
			c.caps.MaxBudget = k.customerMax
		}
	} else if own, ok := k.tagBudgets[name]; ok && b == nil {
		c.caps.MaxBudget, c.caps.BudgetDuration = &own.Max, own.Duration
	}
	p := c.prepare(b, k.zone, time.Now())
	return &Account{Rule: p.rule, Budgets: p.accounts, until: p.until}
}

// TagBudget is a budget that the configuration gives a tag.
type TagBudget struct {
	Max      money.Nano
	Duration string // "": for all time
}
