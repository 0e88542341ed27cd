package admin

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

func TestModelGroups(t *testing.T) {
	each(t, func(w *world) {
		w.shaped(w.call("master", "POST", "/access_group/new", M{"access_group": "ag", "model_names": []string{"mock"}}), 400, `{"detail":{"error":"not there"}}`)
		w.shaped(w.call("master", "GET", "/access_group/list", nil), 200, `{"access_groups":[]}`)
		w.insert(
			&identity.Model{ID: "m1", Name: "gpt", SealedWith: "x", Info: identity.Fields{"mode": quoted("chat")}},
			&identity.Model{ID: "m2", Name: "gpt", SealedWith: "x"}, &identity.Model{ID: "m3", Name: "claude", SealedWith: "x"},
		)
		before := w.changes()
		doc := w.ok("master", "POST", "/access_group/new", M{"access_group": "ag", "model_names": []string{"gpt"}})
		if fmt.Sprint(doc) != "map[access_group:ag model_ids:<nil> model_names:[gpt] models_updated:2]" {
			w.Errorf("%v", doc)
		}
		if got := strings.Join(w.kinds(before), ", "); got != "model m1, model m2" {
			w.Errorf("changed %s", got)
		}
		w.refused(409, "ag", "master", "POST", "/access_group/new", M{"access_group": "ag", "model_ids": []string{"m3"}})
		w.shaped(w.call("master", "GET", "/access_group/ag/info", nil), 200, `{"access_group":"ag","model_names":["gpt"],"deployment_count":2,"spend":0.0,"budget":null}`)
		if m, err := store.Get[identity.Model](context.Background(), w.store, "m1"); err != nil || text(m.Info["mode"]) != "chat" {
			w.Errorf("the rest of the information is gone: %+v %v", m, err)
		}
		before = w.changes()
		if doc = w.ok("master", "PUT", "/access_group/ag/update", M{"model_ids": []string{"m2", "m3"}}); fmt.Sprint(doc["models_updated"]) != "2" {
			w.Errorf("%v", doc)
		}
		if got := strings.Join(w.kinds(before), ", "); got != "model m3, model m1" {
			w.Errorf("changed %s", got)
		}
		if doc = w.ok("master", "GET", "/access_group/ag/info", nil); fmt.Sprint(doc["model_names"]) != "[claude gpt]" {
			w.Errorf("%v", doc)
		}
		w.shaped(w.call("master", "DELETE", "/access_group/ag/delete", nil), 200, `{"access_group":"ag","models_updated":2,"message":"gone"}`)
		for _, c := range [][2]string{{"GET", "info"}, {"PUT", "update"}, {"DELETE", "delete"}} {
			w.refused(404, "ag", "master", c[0], "/access_group/ag/"+c[1], map[string]any{"PUT": M{"model_ids": []string{"m1"}}}[c[0]])
		}
		before = w.changes()
		w.refused(400, "m9", "master", "POST", "/access_group/new", M{"access_group": "x", "model_ids": []string{"m1", "m9"}})
		w.refused(400, "model_names", "master", "POST", "/access_group/new", M{"access_group": "x"})
		w.refused(422, "access_group", "master", "POST", "/access_group/new", M{"model_ids": []string{"m1"}})
		w.userKey("internal", "u1", identity.RoleInternalUser)
		w.refused(401, "", "internal", "POST", "/access_group/new", M{"access_group": "x", "model_ids": []string{"m1"}})
		w.refused(401, "", "internal", "GET", "/access_group/list", nil)
		if after := w.changes(); after != before+2 { // the user and its key
			w.Errorf("refused calls made %d changes", after-before-2)
		}
	})
}

func TestAccessGroups(t *testing.T) {
	each(t, func(w *world) {
		w.team("t1", "")
		w.team("t2", "")
		token := w.key("k1", func(k *identity.Key) { k.Alias = "one" })
		made := w.call("master", "POST", "/v1/access_group", M{
			"access_group_name": "science", "description": "d", "access_model_names": []string{"mock"}, "access_agent_ids": []string{"a1"},
			"assigned_team_ids": []string{"t1"}, "assigned_key_ids": []string{w.plain("k1")},
		})
		const recorded = `{"access_agent_ids":["a"],"access_agents":[{"id":"a","name":null}],"access_group_id":"x","access_group_name":"x","access_mcp_server_ids":[],
			"access_mcp_servers":[],"access_model_names":["m"],"assigned_key_ids":["k"],"assigned_keys":[{"id":"k","name":"one"}],"assigned_team_ids":["t"],
			"assigned_teams":[{"id":"t","name":"t"}],"created_at":"","created_by":"","description":"","updated_at":"","updated_by":""}`
		w.shaped(made, 201, recorded)
		id := at1(made.Body, "access_group_id").(string)
		path := "/v1/access_group/" + id
		read := w.call("master", "GET", path, nil)
		if read.Status != 200 || string(read.Raw) != string(made.Raw) {
			w.Errorf("made %s\nread %s", made.Raw, read.Raw)
		}
		w.shaped(w.call("master", "GET", "/v1/access_group", nil), 200, "["+recorded+"]")
		if k, err := store.Get[identity.Key](context.Background(), w.store, token); err != nil || fmt.Sprint(texts(k.Settings[assigned])) != "["+id+"]" {
			w.Errorf("the key has %s %v", k.Settings[assigned], err)
		}

		before := w.changes()
		doc := w.ok("master", "PUT", path, M{"assigned_team_ids": []string{"t2"}, "description": nil})
		if fmt.Sprint(doc["assigned_team_ids"]) != "[t2]" || doc["description"] != nil || fmt.Sprint(doc["assigned_key_ids"]) != "["+token+"]" {
			w.Errorf("%v", doc)
		}
		if got := strings.Join(w.kinds(before), ", "); got != "access_group "+id+", team t1, team t2" {
			w.Errorf("changed %s", got)
		}

		w.call("master", "POST", "/v1/access_group", M{"access_group_name": "art"})
		before = w.changes()
		w.refused(409, "science", "master", "POST", "/v1/access_group", M{"access_group_name": "science"})
		w.refused(409, "art", "master", "PUT", path, M{"access_group_name": "art"})
		w.refused(404, "t9", "master", "PUT", path, M{"description": "new", "assigned_team_ids": []string{"t1", "t9"}})
		w.refused(404, "place 2", "master", "PUT", path, M{"assigned_key_ids": []string{token, "sk-nobody-has-this-one"}})
		w.refused(422, "access_group_name", "master", "POST", "/v1/access_group", M{})
		w.refused(400, "access_group_name", "master", "POST", "/v1/access_group", M{"access_group_name": ""})
		w.refused(404, "nope", "master", "GET", "/v1/access_group/nope", nil)
		w.refused(422, "page", "master", "GET", "/v1/access_group?page=0", nil)
		if a := w.call("master", "GET", "/v1/access_group?page=1000000000&page_size=1000", nil); a.Status != 200 || string(a.Raw) != "[]" {
			w.Errorf("the last page of all: %d %s", a.Status, a.Raw)
		}
		w.refused(404, "nope", "master", "DELETE", "/v1/access_group/nope", nil)
		if after := w.changes(); after != before {
			w.Errorf("refused calls made %d changes", after-before)
		}

		if a := w.callAs(w.caller("master"), "DELETE", path, nil); a.Status != 204 || len(a.Raw) != 0 {
			w.Errorf("%d %q", a.Status, a.Raw)
		}
		if k, err := store.Get[identity.Key](context.Background(), w.store, token); err != nil || len(texts(k.Settings[assigned])) != 0 {
			w.Errorf("the key still has %s %v", k.Settings[assigned], err)
		}
		w.refused(404, id, "master", "GET", path, nil)
	})
}
