package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/proxy/access"
)

// families are the handlers of all nouns, by method and path.
var families = []func() map[string]handler{
	keyHandlers, userHandlers, teamHandlers, organizationHandlers, projectHandlers, customerHandlers, budgetHandlers,
	tagHandlers, accessGroupHandlers, invitationHandlers, jwtMappingHandlers, modelHandlers, credentialHandlers,
	configHandlers, spendHandlers, globalSpendHandlers, costHandlers, auditHandlers, docsHandlers,
}

// bound pairs each management route with its handler. It fails where one has no
// partner.
func bound(routes []access.Route) (map[string]handler, error) {
	handlers := map[string]handler{}
	for _, family := range families {
		for name, h := range family() {
			if handlers[name] != nil {
				return nil, fmt.Errorf("the route %s has two handlers", name)
			}
			handlers[name] = h
		}
	}
	var wrong []string
	seen := map[string]bool{}
	for i := range routes {
		r := &routes[i]
		name := r.Method + " " + r.Path
		if seen[name] {
			wrong = append(wrong, name+" stands in the table twice")
		}
		seen[name] = true
		if r.Edge || r.Later != "" {
			continue
		}
		if handlers[name] == nil {
			wrong = append(wrong, name+" has no handler")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(handlers)) {
		if !seen[name] {
			wrong = append(wrong, name+" has a handler and no row in the table")
		}
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("table of routes: %s", strings.Join(wrong, "; "))
	}
	return handlers, nil
}
