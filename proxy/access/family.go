package access

import "strings"

// In says whether a route belongs to a family of routes as hidden_routers and
// disabled_routers name them: by its tag, by what its tag manages in one or
// many, or by a name that OpenGateLLM has. admin is the whole management API.
func (r *Route) In(family string) bool {
	tag := strings.ToLower(r.Tag)
	family = strings.ToLower(family)
	noun := strings.TrimSuffix(tag, " management")
	switch family {
	case tag, noun, noun + "s":
		return true
	case "admin":
		return !r.Edge && !r.Public
	case "monitoring":
		return tag == tagHealth
	case "usage":
		return tag == tagSpend
	}
	return false
}

// Tags that families are told by.
const (
	tagHealth = "health"
	tagSpend  = "spend tracking"
)
