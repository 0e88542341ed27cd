package access

import (
	"slices"

	"sluice/proxy/identity"
)

// Reach is which objects of a list a caller may see. An object is seen when it
// belongs to one of what is named here; nothing named is nothing seen.
type Reach struct {
	All           bool
	UserID        string   // objects of this user
	Teams         []string // objects of these teams, whoever's they are
	TeamsNobody   []string // objects of these teams that have no user
	Organizations []string // objects of these organizations and of their teams
}

// Reached is the reach of an action that lists. It holds for each object what
// Decide would say of it.
func Reached(a Action, who *Standing, route string) Reach {
	var r Reach
	for _, c := range who.columns(a) {
		for _, term := range table[a][c].terms {
			r.add(term, c, who, route)
		}
	}
	if r.All || allowAll() {
		return Reach{All: true}
	}
	slices.Sort(r.Teams)
	slices.Sort(r.TeamsNobody)
	slices.Sort(r.Organizations)
	r.Teams, r.TeamsNobody = slices.Compact(r.Teams), slices.Compact(r.TeamsNobody)
	r.Organizations = slices.Compact(r.Organizations)
	return r
}

func (r *Reach) add(term rune, c Column, who *Standing, route string) {
	switch term {
	case '✓':
		r.All = true
	case 'm':
		r.All = r.All || who.Master
	case 'g':
		r.All = r.All || who.spendRoutes()
	case 'o':
		r.UserID = who.UserID
	case 'k':
		for team := range who.Teams {
			r.TeamsNobody = append(r.TeamsNobody, team)
		}
	case 'p':
		for team := range who.Teams {
			if slices.Contains(who.Permissions[team], route) {
				r.Teams = append(r.Teams, team)
			}
		}
	case 'b':
		for id := range who.Organizations {
			r.Organizations = append(r.Organizations, id)
		}
	case 'a':
		if who.ServiceAccount() {
			r.Teams = append(r.Teams, who.Key.TeamID)
		}
	case 's':
		r.scope(c, who)
	}
}

func (r *Reach) scope(c Column, who *Standing) {
	switch c {
	case OrgAdmin:
		r.Organizations = append(r.Organizations, who.OrganizationsLed()...)
	case TeamAdmin:
		r.Teams = append(r.Teams, who.TeamsLed()...)
	case TeamMember:
		r.Teams = append(append(r.Teams, withRole(who.Teams, identity.TeamUser)...), who.TeamsLed()...)
	case TeamKey:
		r.Teams = append(r.Teams, who.Key.TeamID)
	}
}
