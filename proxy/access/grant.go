package access

import (
	"slices"
	"strings"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// Grant is what a key, a member or a team may do at most. Nothing in a field
// means that there is no bound: an empty list is every model, so clearing one
// gives everything.
type Grant struct {
	Models       []string
	Routes       []string
	AccessGroups []string
	MaxBudget    *money.Nano
	TPM          *int64
	RPM          *int64
	Parallel     *int64
	Expires      *time.Time
}

// Granting is a grant that is given, and what is known about names in it.
type Granting struct {
	// Members are the models of an access group, by its id; nil for one that
	// there is not.
	Members func(group string) []string
}

// Excess names the first field of a grant that goes beyond the granter's own,
// by the API's name of the field; "" where none does.
func (g Granting) Excess(given, own Grant) string {
	switch {
	case !g.modelsWithin(given, own):
		return "models"
	case !within(given.Routes, own.Routes, routeCovers):
		return "allowed_routes"
	case over(given.MaxBudget, own.MaxBudget):
		return "max_budget"
	case over(given.TPM, own.TPM):
		return "tpm_limit"
	case over(given.RPM, own.RPM):
		return "rpm_limit"
	case over(given.Parallel, own.Parallel):
		return "max_parallel_requests"
	case own.Expires != nil && (given.Expires == nil || given.Expires.After(*own.Expires)):
		return "duration"
	}
	return ""
}

// over says whether a bound is wider than the granter's own.
func over[N money.Nano | int64](given, own *N) bool {
	return own != nil && (given == nil || *given > *own)
}

// Everything says whether a list of models stands for all that there are.
func Everything(models []string) bool {
	return len(models) == 0 || slices.Contains(models, identity.AllProxyModels) || slices.Contains(models, "*")
}

// modelsWithin compares effective sets: what the lists and the access groups
// give together.
func (g Granting) modelsWithin(given, own Grant) bool {
	owned := own.Models
	for _, group := range own.AccessGroups {
		owned = append(slices.Clip(owned), g.members(group)...)
	}
	if Everything(owned) && len(own.AccessGroups) == 0 || slices.Contains(owned, identity.AllProxyModels) || slices.Contains(owned, "*") {
		return true
	}
	for _, group := range given.AccessGroups {
		if slices.Contains(own.AccessGroups, group) {
			continue
		}
		for _, m := range g.members(group) {
			if !covered(m, owned, modelCovers) {
				return false
			}
		}
	}
	if len(given.Models) == 0 {
		return len(given.AccessGroups) > 0
	}
	for _, m := range given.Models {
		switch m {
		case identity.NoDefaultModels, identity.AllTeamModels:
			// The first is nothing; the second follows the team, whatever it may use.
		default:
			if !covered(m, owned, modelCovers) {
				return false
			}
		}
	}
	return true
}

func (g Granting) members(group string) []string {
	if g.Members == nil {
		return nil
	}
	return g.Members(group)
}

// within says whether each of the given names is covered by an own one; an
// empty list is everything.
func within(given, own []string, covers func(own, name string) bool) bool {
	if len(own) == 0 {
		return true
	}
	if len(given) == 0 {
		return false
	}
	for _, name := range given {
		if !covered(name, own, covers) {
			return false
		}
	}
	return true
}

func covered(name string, own []string, covers func(own, name string) bool) bool {
	return slices.ContainsFunc(own, func(o string) bool { return covers(o, name) })
}

// modelCovers is true where an own name, or pattern with one *, stands for all
// that a given one stands for.
func modelCovers(own, name string) bool {
	if own == name {
		return true
	}
	before, after, ok := strings.Cut(own, "*")
	return ok && len(name) >= len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
}

// routeCovers is the same of allowed_routes: a path, a path that ends in *, or
// the name of a group, which no path covers.
func routeCovers(own, name string) bool {
	if own == name {
		return true
	}
	before, ok := strings.CutSuffix(own, "*")
	return ok && strings.HasPrefix(name, before) && (before == "" || strings.HasPrefix(name, "/"))
}
