package admin

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/proxy/identity"
)

const recordedTag = `{"name":"prod","description":"d","models":[],"model_info":{},"created_at":"2026-11-21T07:19:10.684000+00:00",
	"updated_at":"2026-11-21T07:19:10.684000+00:00","created_by":"default_user_id"}`

func TestTags(t *testing.T) {
	each(t, func(w *world) {
		w.shaped(w.call("master", "POST", "/tag/new", M{"name": "prod", "description": "d", "models": []string{}}), 200, `{"message":"made","tag":`+recordedTag+`}`)
		w.shaped(w.call("master", "GET", "/tag/list", nil), 200, "["+recordedTag+"]")
		w.shaped(w.call("master", "POST", "/tag/info", M{"names": []string{"prod", "nope"}}), 200, `{"prod":`+recordedTag+`}`)
		changed := w.call("master", "POST", "/tag/update", M{"name": "prod", "description": "e", "models": []string{}})
		w.shaped(changed, 200, `{"message":"changed","tag":`+recordedTag+`}`)
		if at1(changed.Body, "tag", "description") != "e" {
			w.Errorf("%s", changed.Raw)
		}
		w.shaped(w.call("master", "POST", "/tag/delete", M{"name": "prod"}), 200, `{"message":"gone"}`)
		w.refused(404, "prod", "master", "POST", "/tag/delete", M{"name": "prod"})

		// With a budget and models of the database.
		w.insert(&identity.Model{ID: "m1", Name: "gpt", SealedWith: "x"})
		doc := w.ok("master", "POST", "/tag/new", M{"name": "t", "models": []string{"m1", "mock"}, "max_budget": 2, "budget_duration": "1d"})
		if fmt.Sprint(at1(doc, "tag", "model_info")) != "map[m1:gpt]" || fmt.Sprint(at1(doc, "tag", "litellm_budget_table", "max_budget")) != "2.0" {
			w.Errorf("%v", doc)
		}
		read := w.ok("master", "POST", "/tag/info", M{"names": []string{"t"}})
		if fmt.Sprint(read["t"]) != fmt.Sprint(doc["tag"]) {
			w.Errorf("made %v\nread %v", doc["tag"], read["t"])
		}
		before := w.changes()
		w.ok("master", "POST", "/tag/delete", M{"name": "t"})
		if got := w.actions(before); len(got) != 2 || got[0] != "deleted tag t" || !strings.HasPrefix(got[1], "deleted budget ") {
			w.Errorf("%q", got)
		}
	}, onSaturday)
}

func TestTagsRefuse(t *testing.T) {
	each(t, func(w *world) {
		w.ok("master", "POST", "/tag/new", M{"name": "prod"})
		w.userKey("internal", "u1", identity.RoleInternalUser)
		w.key("bare", nil)
		before := w.changes()
		w.refused(409, "prod", "master", "POST", "/tag/new", M{"name": "prod"})
		w.refused(422, "name", "master", "POST", "/tag/new", M{})
		w.refused(400, "name", "master", "POST", "/tag/new", M{"name": ""})
		w.refused(400, "max_budget", "master", "POST", "/tag/new", M{"name": "x", "max_budget": -1})
		w.refused(404, "nope", "master", "POST", "/tag/new", M{"name": "x", "budget_id": "nope"})
		w.refused(404, "nope", "master", "POST", "/tag/update", M{"name": "nope"})
		w.refused(404, "nope", "master", "POST", "/tag/info", M{"names": []string{"nope"}})
		w.refused(400, "names", "master", "POST", "/tag/info", M{"names": []string{}})
		w.refused(422, "names", "master", "POST", "/tag/info", M{"names": "prod"})
		w.refused(401, "", "internal", "POST", "/tag/new", M{"name": "x"})
		w.refused(401, "", "bare", "GET", "/tag/list", nil)
		if after := w.changes(); after != before {
			w.Errorf("refused calls made %d changes", after-before)
		}
	})
}

// Who is no admin sees the tags of what it sees.
func TestTagsSeen(t *testing.T) {
	each(t, func(w *world) {
		for _, name := range []string{"mine", "team", "org", "other"} {
			w.ok("master", "POST", "/tag/new", M{"name": name})
		}
		tags := func(name string) identity.Fields { return identity.Fields{"tags": quoted([]string{name})} }
		w.userKey("internal", "u1", identity.RoleInternalUser)
		w.userKey("leader", "u2", identity.RoleInternalUser)
		w.userKey("head", "u3", identity.RoleInternalUser)
		w.userKey("viewer", "u4", identity.RoleProxyAdminViewer)
		w.organization("o1", "u3:org_admin")
		w.team("t1", "o1", "u2:admin", "u1")
		w.key("own", func(k *identity.Key) { k.UserID, k.Metadata = "u1", tags("mine") })
		w.key("ofteam", func(k *identity.Key) { k.TeamID, k.Metadata = "t1", tags("team") })
		w.key("oforg", func(k *identity.Key) { k.OrganizationID, k.Metadata = "o1", tags("org") })
		w.key("strange", func(k *identity.Key) { k.Metadata = tags("other") })
		for as, want := range map[string]string{
			"master": "mine org other team", "viewer": "mine org other team", "internal": "mine", "leader": "team", "head": "org team",
		} {
			var got []string
			rows, _ := w.call(as, "GET", "/tag/list", nil).Body.([]any)
			for _, r := range rows {
				got = append(got, at1(r, "name").(string))
			}
			slices.Sort(got)
			if strings.Join(got, " ") != want {
				w.Errorf("%s sees %v, want %s", as, got, want)
			}
		}
		w.refused(404, "other", "internal", "POST", "/tag/info", M{"names": []string{"other"}})
	})
}
