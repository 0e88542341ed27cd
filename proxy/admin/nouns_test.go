package admin

import (
	"strings"
	"testing"
)

// The recorded story of budgets, customers, tags, access groups, invitations,
// projects and the record.
func TestStoryOfNouns(t *testing.T) {
	each(t, func(w *world) {
		w.tell(func(s *scene) bool {
			for _, noun := range []string{"budget/", "customer/", "tag/", "access_group", "invitation/", "project/", "audit", "user/new internal_user u-int"} {
				if strings.HasPrefix(s.Name, noun) {
					return true
				}
			}
			return false
		}, map[string]string{"customer/new duplicate": "status 409, recorded 500"})
	})
}
