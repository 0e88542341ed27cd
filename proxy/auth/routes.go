package auth

import (
	"strings"

	"sluice/proxy/access"
	"sluice/proxy/identity"
)

// routeSet is which routes a key may call: groups, paths, and patterns.
type routeSet struct {
	groups   []access.Group
	paths    map[string]struct{}
	patterns []string
	shown    []string // as the key has them, for the refusal
}

// groupNames are the names that allowed_routes has for groups of routes.
var groupNames = map[string]access.Group{
	string(access.GroupLLM): access.GroupLLM, "openai_routes": access.GroupLLM,
	string(access.GroupManagement): access.GroupManagement,
	string(access.GroupInfo):       access.GroupInfo,
	string(access.GroupSpend):      access.GroupSpend, "global_spend_tracking_routes": access.GroupSpend,
	string(access.GroupPublic): access.GroupPublic,
}

// routesOf reads what a key is limited to; nil means that it is not limited.
func routesOf(k *identity.Key) *routeSet {
	allowed := k.AllowedRoutes
	if len(allowed) == 0 {
		switch k.Type {
		case "llm_api":
			allowed = []string{string(access.GroupLLM)}
		case "management":
			allowed = []string{string(access.GroupManagement), string(access.GroupInfo), string(access.GroupSpend)}
		case "read_only":
			allowed = []string{string(access.GroupInfo)}
		default:
			return nil
		}
	}
	return newRouteSet(allowed)
}

func newRouteSet(allowed []string) *routeSet {
	s := &routeSet{paths: map[string]struct{}{}, shown: allowed}
	for _, a := range allowed {
		if g, ok := groupNames[a]; ok {
			s.groups = append(s.groups, g)
		} else if strings.Contains(a, "*") {
			s.patterns = append(s.patterns, a)
		} else {
			s.paths[a] = struct{}{}
		}
	}
	return s
}

// has reports whether a route is in the set: by its group, by its path as the
// table of routes has it, or by a pattern.
func (s *routeSet) has(r *access.Route) bool {
	for _, g := range s.groups {
		if g == r.Group {
			return true
		}
	}
	if _, ok := s.paths[r.Path]; ok {
		return true
	}
	for _, p := range s.patterns {
		if matches(p, r.Path) {
			return true
		}
	}
	return false
}
