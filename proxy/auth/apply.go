package auth

import (
	"slices"

	"sluice/proxy/identity"
	"sluice/supervisor/fleet"
)

// answer is what is being put in place: what the database or the snapshot said,
// by id.
type answer struct {
	d    *Directory
	at   int64    // when it was said, on fleet.Now's scale
	live bool     // by the database: it goes to the snapshot
	by   [32]byte // the key that is being put in place
	save []frame
	// changes is the number of the newest change of an object that the snapshot
	// knows of; nil for an answer of the database.
	changes func(kind identity.Kind, id string) int64

	users    map[string]*identity.User
	teams    map[string]*identity.Team
	members  map[string]*identity.Member
	orgs     map[string]*identity.Organization
	projects map[string]*identity.Project
	budgets  map[string]*identity.Budget
	inOrgs   map[string]*identity.OrganizationMember
	groups   map[string]*identity.AccessGroup
	placed   map[*box]bool
}

func (d *Directory) newAnswer(found *identity.Resolved, at int64, live bool) *answer {
	a := &answer{d: d, at: at, live: live, placed: map[*box]bool{}}
	a.users = byID(found.Users, func(o *identity.User) string { return o.ID })
	a.teams = byID(found.Teams, func(o *identity.Team) string { return o.ID })
	a.members = byID(found.Members, func(o *identity.Member) string { return memberID(o.TeamID, o.UserID) })
	a.inOrgs = byID(found.OrganizationMembers, func(o *identity.OrganizationMember) string { return memberID(o.OrganizationID, o.UserID) })
	a.orgs = byID(found.Organizations, func(o *identity.Organization) string { return o.ID })
	a.projects = byID(found.Projects, func(o *identity.Project) string { return o.ID })
	a.budgets = byID(found.Budgets, func(o *identity.Budget) string { return o.ID })
	a.groups = byID(found.AccessGroups, func(o *identity.AccessGroup) string { return o.ID })
	return a
}

func byID[T any](list []*T, id func(*T) string) map[string]*T {
	m := make(map[string]*T, len(list))
	for _, o := range list {
		m[id(o)] = o
	}
	return m
}

// memberID is the id that a change of a membership carries.
func memberID(team, user string) string { return team + "/" + user }

// apply puts the database's answer about a batch in place. The mutex is held.
func (d *Directory) apply(found *identity.Resolved, batch []*flight) {
	a := d.newAnswer(found, d.now(), true)
	keys := byID(found.Keys, func(k *identity.Key) string { return k.Token })
	retired := byID(found.Retired, func(r *identity.RetiredKey) string { return r.Token })
	for _, f := range batch {
		text := hexOf(&f.digest)
		changed := d.outdated(identity.KindKey, text) || d.outdated(identity.KindRetiredKey, text)
		k, old := keys[text], retired[text]
		if k == nil && old != nil {
			k = keys[old.Active]
			changed = changed || d.outdated(identity.KindKey, old.Active)
		}
		if k == nil {
			f.none = !changed
			a.absent(&f.digest, changed)
			continue
		}
		r := a.record(&f.digest, k, old)
		r.stale.Store(changed)
		d.put(r)
		f.record = r
		a.keep(frame{kind: frameKey, id: f.digest, value: savedKey{Key: k, Retired: old}}, k.ChangeNumber)
	}
	d.save(a.save)
}

const dashboardTeam = "litellm-dashboard"

// keep gives a frame to the snapshot, unless it was given the same one lately.
func (a *answer) keep(f frame, number int64) {
	if a.d.c.Snapshot != nil && a.d.saved.add(&f.id, number, a.at) {
		a.save = append(a.save, f)
	}
}

// savedLately remembers what was given to the snapshot. It may forget.
type savedLately []savedFrame

type savedFrame struct {
	hash   uint64
	number int64
	at     int64
}

const saveEvery = int64(3600e9)

func (s savedLately) add(id *[32]byte, number, at int64) bool {
	hash := hashOf(id)
	p := &s[hash%uint64(len(s))]
	if p.hash == hash && p.number == number && at-p.at < saveEvery {
		return false
	}
	*p = savedFrame{hash: hash, number: number, at: at}
	return true
}

// absent notes that there is no such key: for good where there was one before,
// else for a moment.
func (a *answer) absent(digest *[32]byte, changed bool) {
	d := a.d
	if old := d.records.find(digest); old != nil {
		r := &record{digest: *digest, fetched: a.at, size: recordSize}
		r.used.Store(old.used.Load())
		r.stale.Store(changed)
		if old.facts != nil {
			a.keep(frame{kind: frameGone, id: *digest}, -1)
		}
		d.put(r)
		return
	}
	if !changed {
		d.misses.put(digest, a.at)
	}
}

// put stores a record and remembers what leads to it.
func (d *Directory) put(r *record) {
	if old := d.records.find(&r.digest); old != nil {
		r.used.Store(max(r.used.Load(), old.used.Load()))
		r.touched.Store(max(r.touched.Load(), old.touched.Load()))
	} else {
		r.used.Store(d.now() / 1e9)
	}
	d.misses.drop(hashOf(&r.digest))
	d.records.put(r)
}

const (
	recordSize = 320  // bytes of a record and its place, about
	factsSize  = 2000 // bytes of the facts about a key and its user without their texts, about
)

// record prepares a key for the request path. old is the retired digest that
// led to it; nil if it was found by its own.
func (a *answer) record(digest *[32]byte, k *identity.Key, old *identity.RetiredKey) *record {
	a.by = *digest
	f := &keyFacts{
		key: k, expires: unixNano(k.Expires), models: newGrant(k.Models), routes: routesOf(k),
		ips: newAddresses(slices.Concat(list(k.Settings, "allowed_ips"), list(k.Metadata, "allowed_ips"))),
	}
	if k.UserID != "" {
		f.user = a.user(k.UserID)
	}
	if k.TeamID != "" {
		f.team = a.team(k.TeamID)
		if k.UserID != "" {
			f.member = a.member(k.TeamID, k.UserID)
		}
	}
	f.org = a.organization(k.OrganizationID)
	f.project = a.project(k.ProjectID)
	f.budget = a.budget(k.BudgetID)
	f.capped, f.tags, f.mayTag = keyCaps(k), list(k.Metadata, "tags"), truthOf(k.Metadata, "allow_client_tags")
	// Most users of keys are no members: what the snapshot does not have is none.
	if org := a.organizationOf(k); org != "" && k.UserID != "" && (a.live || a.inOrgs[memberID(org, k.UserID)] != nil) {
		f.orgMember = a.orgMember(org, k.UserID)
	}
	f.groups = a.accessGroups(list(k.Settings, "access_group_ids"))
	f.fixed = Identity{
		Known: true, Alias: k.Alias, User: k.UserID, Team: k.TeamID, Organization: k.OrganizationID, Project: k.ProjectID, Key: k,
	}
	copy(f.fixed.KeyHash[:], k.Token)
	r := &record{digest: *digest, facts: f, fetched: a.at, size: recordSize + factsSize + sizeOf(k)}
	if old != nil {
		r.until = old.RevokeAt.UnixNano()
		a.d.leads(digest, fleet.HashID(k.Token))
	}
	return r
}

// sizeOf is the memory of a key's texts, about.
func sizeOf(k *identity.Key) int64 {
	n := len(k.Alias) + len(k.Name) + len(k.UserID) + len(k.TeamID) + len(k.OrganizationID) + len(k.ProjectID)
	for _, m := range k.Models {
		n += 2*len(m) + 48
	}
	for from, to := range k.Aliases {
		n += len(from) + len(to) + 48
	}
	for _, fields := range []identity.Fields{k.Metadata, k.Settings, k.Permissions, k.ModelMaxBudget} {
		for name, value := range fields {
			n += len(name) + len(value) + 64
		}
	}
	return int64(n)
}

// place puts an object into its box once per answer. made is nil where there is
// no such object.
func (a *answer) place(kind identity.Kind, id string, make func(*object) identity.Object) *box {
	b := a.d.box(kind, id)
	if b == nil || a.placed[b] {
		return b
	}
	a.placed[b] = true
	was := b.held.Load()
	if !a.live && was != nil {
		return b // what the process knows is newer than the snapshot
	}
	o := &object{kind: kind, id: id, missing: true}
	from := make(o)
	if from != nil {
		o.missing = false
	}
	b.by = a.by
	switch {
	case a.live && from != nil:
		a.keep(frame{kind: frameObject, id: objectID(kind, id), object: kind, value: from}, o.number)
	case !a.live && o.missing:
		return b // the snapshot does not say that there is none
	}
	b.held.Store(o)
	b.stale.Store(a.d.outdated(kind, id) || a.changes != nil && a.changes(kind, id) > o.number)
	return b
}

func (a *answer) user(id string) *box {
	return a.place(identity.KindUser, id, func(o *object) identity.Object {
		u := a.users[id]
		if u == nil {
			// The master key's user needs no row.
			o.missing, o.models = id != identity.DefaultUserID && id != a.d.c.AdminUser, newGrant(nil)
			return nil
		}
		o.blocked, o.alias, o.email, o.models, o.number = u.Blocked, u.Alias, u.Email, newGrant(u.Models), u.ChangeNumber
		o.role, _ = identity.RoleNamed(u.Role)
		o.budget, o.capped = a.budget(u.BudgetID), userCaps(u)
		return u
	})
}

func (a *answer) team(id string) *box {
	return a.place(identity.KindTeam, id, func(o *object) identity.Object {
		t := a.teams[id]
		if t == nil {
			// Keys of LiteLLM's dashboard name a team that has no row.
			o.missing, o.models = id != dashboardTeam, newGrant(nil)
			return nil
		}
		o.blocked, o.alias, o.models, o.number = t.Blocked, t.Alias, newGrant(t.Models), t.ChangeNumber
		o.aliases = pairs(t.Settings, "model_aliases")
		o.ips = newAddresses(slices.Concat(list(t.Settings, "allowed_ips"), list(t.Metadata, "allowed_ips")))
		o.org = a.organization(t.OrganizationID)
		o.budget, o.members, o.capped = a.budget(t.BudgetID), a.budget(textOf(t.Metadata, "team_member_budget_id")), teamCaps(t)
		o.tags, o.mayTag = list(t.Metadata, "tags"), truthOf(t.Metadata, "allow_client_tags")
		o.groups = a.accessGroups(list(t.Settings, "access_group_ids"))
		return t
	})
}

func (a *answer) member(team, user string) *box {
	id := memberID(team, user)
	return a.place(identity.KindMember, id, func(o *object) identity.Object {
		m := a.members[id]
		if m == nil {
			return nil
		}
		o.number = m.ChangeNumber
		o.budget, o.capped = a.budget(m.BudgetID), memberCaps(m)
		return m
	})
}

// organizationOf is the organization that a key belongs to: its own, else that
// of its team.
func (a *answer) organizationOf(k *identity.Key) string {
	if k.OrganizationID != "" || k.TeamID == "" {
		return k.OrganizationID
	}
	if t := a.teams[k.TeamID]; t != nil {
		return t.OrganizationID
	}
	return ""
}

func (a *answer) orgMember(org, user string) *box {
	id := memberID(org, user)
	return a.place(identity.KindOrganizationMember, id, func(o *object) identity.Object {
		m := a.inOrgs[id]
		if m == nil {
			return nil
		}
		o.number = m.ChangeNumber
		o.budget, o.capped = a.budget(m.BudgetID), orgMemberCaps(m)
		return m
	})
}

func (a *answer) organization(id string) *box {
	return a.place(identity.KindOrganization, id, func(o *object) identity.Object {
		g := a.orgs[id]
		if g == nil {
			return nil
		}
		o.alias, o.models, o.number = g.Alias, newGrant(g.Models), g.ChangeNumber
		o.budget, o.capped = a.budget(g.BudgetID), organizationCaps(g)
		return g
	})
}

func (a *answer) project(id string) *box {
	return a.place(identity.KindProject, id, func(o *object) identity.Object {
		p := a.projects[id]
		if p == nil {
			return nil
		}
		o.blocked, o.alias, o.models, o.number = p.Blocked, p.Alias, newGrant(p.Models), p.ChangeNumber
		o.budget, o.capped, o.tags = a.budget(p.BudgetID), projectCaps(p), list(p.Metadata, "tags")
		return p
	})
}

func (a *answer) budget(id string) *box {
	return a.place(identity.KindBudget, id, func(o *object) identity.Object {
		b := a.budgets[id]
		if b == nil {
			o.missing, o.models = false, newGrant(nil)
			return nil
		}
		o.models, o.number = newGrant(b.AllowedModels), b.ChangeNumber
		o.capped = budgetCaps(b)
		return b
	})
}

func (a *answer) accessGroups(ids []string) []*box {
	var out []*box
	for _, id := range ids {
		b := a.place(identity.KindAccessGroup, id, func(o *object) identity.Object {
			g := a.groups[id]
			if g == nil {
				return nil
			}
			// An empty group gives nothing.
			o.alias, o.number = g.Name, g.ChangeNumber
			if len(g.Models) > 0 {
				o.models = newGrant(g.Models)
			}
			return g
		})
		if b != nil {
			out = append(out, b)
		}
	}
	return out
}
