package admin

import (
	"slices"

	"sluice/proxy/access"
)

// keyHandlers are the handlers of proxy/access/keys.go.
func keyHandlers() map[string]handler {
	return map[string]handler{
		"POST /key/generate":                 (*API).generateKey,
		"POST /key/service-account/generate": (*API).generateServiceKey,
		"POST /key/update":                   (*API).updateKey,
		"POST /key/bulk_update":              (*API).bulkUpdateKeys,
		"POST /key/delete":                   (*API).deleteKeys,
		"POST /key/regenerate":               (*API).regenerateKey,
		"POST /key/{key_id}/regenerate":      (*API).regenerateKey,
		"POST /key/{key_id}/reset_spend":     (*API).resetKeySpend,
		"POST /key/block":                    (*API).blockKey,
		"POST /key/unblock":                  (*API).unblockKey,
		"POST /key/health":                   (*API).keyHealth,
		"GET /key/info":                      (*API).keyInfo,
		"POST /v2/key/info":                  (*API).keyInfos,
		"GET /key/list":                      (*API).listKeys,
		"GET /key/aliases":                   (*API).keyAliases,
	}
}

// updateFields are the fields of one key in /key/bulk_update.
func updateFields() []access.Field {
	for _, r := range access.Routes() {
		if r.Path == "/key/update" {
			return slices.Clone(r.Body)
		}
	}
	panic("BUG: the table has no /key/update")
}
