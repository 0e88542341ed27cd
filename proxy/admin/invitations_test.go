package admin

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

func TestInvitations(t *testing.T) {
	each(t, func(w *world) {
		w.user("u-int", identity.RoleInternalUser)
		const recorded = `{"id":"a7c5f996","user_id":"u-int","is_accepted":false,"accepted_at":null,"expires_at":"2026-11-28T07:19:11.007000Z",
			"created_at":"2026-11-21T07:19:11.007000Z","created_by":"default_user_id","updated_at":"2026-11-21T07:19:11.007000Z","updated_by":"default_user_id"}`
		made := w.call("master", "POST", "/invitation/new", M{"user_id": "u-int"})
		w.shaped(made, 200, recorded)
		id := at1(made.Body, "id").(string)
		i, err := store.Get[identity.Invitation](context.Background(), w.store, id)
		if err != nil || i.ExpiresAt.Sub(i.CreatedAt) != invitationTime {
			w.Errorf("%+v %v", i, err)
		}
		read := w.call("master", "GET", "/invitation/info?invitation_id="+id, nil)
		if string(read.Raw) != string(made.Raw) {
			w.Errorf("made %s\nread %s", made.Raw, read.Raw)
		}
		doc := w.ok("master", "POST", "/invitation/update", M{"invitation_id": id, "is_accepted": true})
		if doc["is_accepted"] != true || doc["accepted_at"] == nil {
			w.Errorf("%v", doc)
		}
		before := w.changes()
		w.ok("master", "POST", "/invitation/update", M{"invitation_id": id, "is_accepted": true})
		w.refused(404, "user", "master", "POST", "/invitation/new", M{"user_id": "nobody"})
		w.refused(422, "user_id", "master", "POST", "/invitation/new", M{})
		w.refused(404, "invitation", "master", "GET", "/invitation/info?invitation_id=nope", nil)
		w.refused(404, "invitation", "master", "POST", "/invitation/update", M{"invitation_id": "nope", "is_accepted": true})
		w.refused(404, "invitation", "master", "POST", "/invitation/delete", M{"invitation_id": "nope"})
		if after := w.changes(); after != before {
			w.Errorf("%d changes", after-before)
		}

		// Who reads the record of changes cannot use the invitation.
		audit := w.call("master", "GET", "/audit?page_size=100", nil)
		if strings.Contains(string(audit.Raw), id) {
			w.Errorf("the record tells the invitation: %s", audit.Raw)
		}
		w.ok("master", "POST", "/invitation/delete", M{"invitation_id": id})
		w.refused(404, "invitation", "master", "GET", "/invitation/info?invitation_id="+id, nil)
	})
}

// An organization's admin invites the users that it made itself, and nobody
// who is more than that.
func TestInvitationsOfOrganizations(t *testing.T) {
	each(t, func(w *world) {
		w.userKey("head", "u-head", identity.RoleInternalUser)
		w.userKey("internal", "u-int", identity.RoleInternalUser)
		w.organization("o1", "u-head:org_admin", "u-old")
		w.organization("o2", "u-far")
		for _, id := range []string{"u-old", "u-far"} {
			w.user(id, identity.RoleInternalUser)
		}
		made := w.ok("head", "POST", "/organization/member_add", M{"organization_id": "o1", "member": M{"role": "internal_user", "user_email": "new@example.org"}})
		users, _ := made["updated_users"].([]any)
		id := at1(users[0], "user_id")
		invitation := w.ok("head", "POST", "/invitation/new", M{"user_id": id})
		w.ok("head", "GET", fmt.Sprint("/invitation/info?invitation_id=", invitation["id"]), nil)
		for _, user := range []string{"u-old", "u-far", "u-head", "nobody"} {
			w.refused(404, "There is no such user.", "head", "POST", "/invitation/new", M{"user_id": user})
		}
		w.refused(401, "", "internal", "POST", "/invitation/new", M{"user_id": "u-int"})
		// Once the user belongs elsewhere too, it is not this admin's any more.
		w.insert(&identity.OrganizationMember{OrganizationID: "o2", UserID: id.(string), Role: "internal_user"})
		w.refused(404, "", "head", "GET", fmt.Sprint("/invitation/info?invitation_id=", invitation["id"]), nil)
		w.refused(404, "", "head", "POST", "/invitation/new", M{"user_id": id})
	})
}
