package admin

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"sluice/internal/env"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// TestVariables: variables of the API are kept sealed, shown nowhere, and one by
// one taken away.
func TestVariables(t *testing.T) {
	each(t, func(w *world) {
		item := func() *identity.ConfigItem {
			w.Helper()
			m, err := store.Get[identity.ConfigItem](context.Background(), w.store, variableSection)
			if err != nil {
				w.Fatal(err)
			}
			return m
		}
		plain := func(m *identity.ConfigItem, name string) string {
			w.Helper()
			v, err := w.api.ring().OpenJSON(m.Kind().Table(), m.Name, name, m.Value[name])
			if err != nil {
				w.Fatal(err)
			}
			return string(v)
		}
		w.ok("master", "POST", "/config/update", M{"environment_variables": M{"A_KEY": "sk-canary", "PORT": 80, "GONE": "x"}})
		m := item()
		if m.SealedWith != w.api.ring().ID() || plain(m, "A_KEY") != `"sk-canary"` || plain(m, "PORT") != `"80"` {
			w.Errorf("%+v", m)
		}
		before := m.Value["A_KEY"]
		w.ok("master", "POST", "/config/update", M{"environment_variables": M{"A_KEY": Masked, "GONE": nil, "B": "b"}})
		m = item()
		if len(m.Value) != 3 || plain(m, "A_KEY") != `"sk-canary"` || string(m.Value["A_KEY"]) != string(before) || plain(m, "B") != `"b"` {
			w.Errorf("%+v", m)
		}
		n := w.changes()
		w.ok("master", "POST", "/config/update", M{"environment_variables": M{"B": "b"}})
		if w.changes() != n {
			w.Error("the same value again is a change")
		}
		for _, path := range []string{"/config/yaml", "/audit?object_type=config", "/config/list?config_type=general_settings"} {
			if a := w.call("master", "GET", path, nil); strings.Contains(string(a.Raw), "canary") {
				w.Errorf("%s shows a variable: %s", path, a.Raw)
			}
		}
	}, withModels(t, &catalog{}))
}

// TestStaleSeal: what was sealed with a key that is not in use any more is sealed
// with the one that is, once; a caller sees nothing of it.
func TestStaleSeal(t *testing.T) {
	ring, err := seal.NewRing(seal.Entry{ID: "old", Secret: "sk-old-secret"}, seal.Entry{ID: "new", Secret: env.Secret("sk-new-secret")})
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(w *world) {
		now, renewed := ring, 0
		w.api.c.Models.Keys = Keys{Ring: func() *seal.Ring { return now }, Renew: func(context.Context) error {
			renewed++
			now, _ = ring.Writing("new")
			return nil
		}}
		promote := func(id string) {
			w.Helper()
			writing, _ := ring.Writing(id)
			check, err := writing.Check()
			if err != nil {
				w.Fatal(err)
			}
			err = w.store.Change(context.Background(), store.Actor{}, func(tx *store.Tx) error {
				return tx.Promote(store.SealingKey{ID: id, Check: check}, nil)
			})
			if err != nil {
				w.Fatal(err)
			}
		}
		promote("old")
		w.ok("master", "POST", "/model/new", dbModel)
		w.ok("master", "POST", "/credentials", M{"credential_name": "c", "credential_values": M{"api_key": "sk-1"}})
		w.ok("master", "POST", "/config/update", M{"environment_variables": M{"A": "a"}})
		promote("new")
		w.ok("master", "POST", "/model/new", M{"model_name": "second", "litellm_params": M{"model": "openai/x", "api_key": "sk-2"}, "model_info": M{"id": "db-2"}})
		if renewed != 1 || now.ID() != "new" {
			w.Fatalf("renewed %d times, sealing with %s", renewed, now.ID())
		}
		w.ok("master", "PATCH", "/model/db-1/update", M{"litellm_params": M{"rpm": 1}})
		w.ok("master", "PATCH", "/credentials/c", M{"credential_values": M{"api_base": "https://one.example/v1"}})
		w.ok("master", "POST", "/config/update", M{"environment_variables": M{"B": "b"}})
		rows, err := w.store.SealedRows(context.Background())
		if err != nil || len(rows["old"]) != 0 || rows["new"]["model"] != 2 || rows["new"]["credential"] != 1 || rows["new"]["config"] != 1 {
			w.Errorf("%v %v", rows, err)
		}
		m, err := store.Get[identity.Model](context.Background(), w.store, "db-1")
		if err != nil {
			w.Fatal(err)
		}
		for name, v := range m.Params {
			var text string
			if json.Unmarshal(v, &text) == nil && now.SealedWith(text) != "new" {
				w.Errorf("%s is sealed with %q", name, now.SealedWith(text))
			}
		}
		// A host that lacks the key in use says so, and stores nothing.
		now, _ = ring.Writing("old")
		w.api.c.Models.Keys.Renew = func(context.Context) error { return errors.New("this host does not have key new") }
		w.refused(503, "Nothing was changed", "master", "POST", "/credentials", M{"credential_name": "d", "credential_values": M{"api_key": "sk-1"}})
	}, withModels(t, &catalog{}))
}
