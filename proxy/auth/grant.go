package auth

import (
	"strings"

	"sluice/proxy/identity"
)

// grant is which models an object lets use: what its list of models says.
type grant struct {
	all      bool // an empty list, or one that says so
	ofTeam   bool // all-team-models
	names    map[string]struct{}
	patterns []string
}

// newGrant reads a list of models. An empty one is everything.
func newGrant(models []string) grant {
	g := grant{all: len(models) == 0}
	for _, m := range models {
		switch {
		case m == identity.AllProxyModels || m == "*":
			g.all = true
		case m == identity.AllTeamModels:
			g.ofTeam = true
		case m == identity.NoDefaultModels:
		case strings.Contains(m, "*"):
			g.patterns = append(g.patterns, m)
		default:
			if g.names == nil {
				g.names = make(map[string]struct{}, len(models))
			}
			g.names[m] = struct{}{}
		}
	}
	return g
}

// has reports whether the list names a model, itself or by a pattern.
func (g *grant) has(model string) bool {
	if model == "" {
		return false
	}
	if _, ok := g.names[model]; ok {
		return true
	}
	for _, p := range g.patterns {
		if matches(p, model) {
			return true
		}
	}
	return false
}

// covers reports whether the list lets one of the names of a model be used.
func (g *grant) covers(m *Model) bool {
	if g.all || g.has(m.Name) || g.has(m.Target) {
		return true
	}
	if len(g.names) > 0 {
		for _, name := range m.Groups {
			if _, ok := g.names[name]; ok {
				return true
			}
		}
	}
	return false
}

// matches compares a name with a pattern in which '*' is any text.
func matches(pattern, name string) bool {
	star, back := -1, 0
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, back = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			back++
			p, n = star+1, back
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
