package litellm

import "sluice/proxy/identity"

// missing are the owners that a key names and that do not exist. LiteLLM serves
// such keys; here a key whose owner was deleted is refused.
type missing struct {
	User         bool `json:"missing user"`
	Team         bool `json:"missing team"`
	Organization bool `json:"missing organization"`
	Project      bool `json:"missing project"`
}

const madeForKeys = "was made, because keys name it: LiteLLM serves such keys"

// owners makes the owners of a key that do not exist, with nothing but an id.
func (r *row) owners(m *missing, k *identity.Key) error {
	for _, o := range []struct {
		missing bool
		id      string
		object  identity.Object
	}{
		{m.Organization, k.OrganizationID, &identity.Organization{ID: k.OrganizationID, Alias: k.OrganizationID}},
		{m.User && k.UserID != identity.DefaultUserID, k.UserID, &identity.User{ID: k.UserID}}, // the master key's user needs no row
		{m.Team, k.TeamID, &identity.Team{ID: k.TeamID}},
		{m.Project, k.ProjectID, &identity.Project{ID: k.ProjectID}},
	} {
		name := o.object.Kind().String() + " " + o.id
		if !o.missing || o.id == "" || r.c.made.has(name) {
			continue
		}
		r.c.made.add(name)
		r.c.Sink.Report(r.table, clip(name), madeForKeys)
		if err := r.c.Sink.Object(o.object); err != nil {
			return err
		}
	}
	return nil
}

// lately remembers the owners that were made last: many keys name the same ones.
type lately struct {
	now, before map[string]bool
}

// mostMade is how many owners are remembered for certain: more than a batch has.
const mostMade = 20_000

func (l *lately) has(name string) bool { return l.now[name] || l.before[name] }

func (l *lately) add(name string) {
	if l.now == nil || len(l.now) >= mostMade {
		l.now, l.before = make(map[string]bool, 16), l.now
	}
	l.now[name] = true
}

// ownerJoins say which owners of a key are missing.
func ownerJoins() []func(Columns) string {
	join := func(name, column, table string) func(Columns) string {
		return func(have Columns) string {
			switch {
			case !have.Has(tableKeys, column):
				return ""
			case !have.Has(table, column):
				return `k.` + column + ` <> '' AS "missing ` + name + `"`
			}
			// Asked so, each row looks into the index; for NOT EXISTS the planner hashes
			// all owners anew for each page.
			return `(k.` + column + ` <> '' AND (SELECT 1 FROM "` + table + `" o WHERE o.` + column + ` = k.` + column + ` LIMIT 1) IS NULL) AS "missing ` + name + `"`
		}
	}
	return []func(Columns) string{
		join("user", "user_id", tableUsers), join("team", "team_id", tableTeams),
		join("organization", "organization_id", tableOrgs), join("project", "project_id", tableProjects),
	}
}
