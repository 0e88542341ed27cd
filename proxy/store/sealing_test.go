package store_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

func promote(t *testing.T, s *store.Store, id string, old ...store.SealingKey) {
	t.Helper()
	change(t, s, func(tx *store.Tx) error { return tx.Promote(store.SealingKey{ID: id, Check: "check " + id}, old) })
}

func config(name, with, sealed string) *identity.ConfigItem {
	return &identity.ConfigItem{Name: name, SealedWith: with, Value: identity.Fields{"OPENAI_API_KEY": json.RawMessage(`"` + sealed + `"`)}}
}

// TestPromotion goes from one key to the next and retires the first.
func TestPromotion(t *testing.T) {
	eachDatabase(t, func(t *testing.T, open func(store.Config) *store.Store) {
		s := open(store.Config{Chain: withKey})
		if id, err := s.SealingKey(t.Context()); id != "" || err != nil {
			t.Errorf("before: %q %v", id, err)
		}
		params := identity.Fields{"api_key": json.RawMessage(`"sealed"`)}
		model := &identity.Model{ID: "m", Params: params, SealedWith: "k1"}
		credential := &identity.Credential{ID: "c", Name: "c", Values: map[string]string{"a": "sealed"}, SealedWith: "k1"}
		item := config("environment_variables", "k1", "sealed")
		insert(t, s, model, credential, item, &identity.ConfigItem{Name: "general_settings"}) // before any promotion: nobody else can have another key
		promote(t, s, "k1")
		promote(t, s, "k2", store.SealingKey{ID: "k1", AuditKey: "sealed audit key", SealedWith: "k2"})
		if id, err := s.SealingKey(t.Context()); id != "k2" || err != nil {
			t.Errorf("%q %v", id, err)
		}
		keys, err := s.SealingKeys(t.Context())
		if err != nil || len(keys) != 2 || keys[0].ID != "k1" || keys[0].AuditKey != "sealed audit key" || keys[1].Check != "check k2" || keys[1].PromotedAt.IsZero() {
			t.Errorf("%+v %v", keys, err)
		}
		// What is sealed stays as it is; what is sealed now is sealed with k2.
		model.Blocked = true
		change(t, s, func(tx *store.Tx) error { return tx.Update(model) })
		stale := func(what string, fn func(tx *store.Tx) error) {
			t.Helper()
			if err := s.Change(t.Context(), store.Actor{}, fn); !errors.Is(err, store.ErrStaleSeal) {
				t.Errorf("%s: %v", what, err)
			}
		}
		stale("another text", func(tx *store.Tx) error {
			m := *model
			m.Params = identity.Fields{"api_key": json.RawMessage(`"other"`)}
			return tx.Update(&m)
		})
		stale("a new object", func(tx *store.Tx) error { return tx.Insert(&identity.Model{ID: "n", SealedWith: "k1"}) })
		stale("settings", func(tx *store.Tx) error { return tx.Update(config("environment_variables", "k1", "other")) })
		stale("taken", func(tx *store.Tx) error {
			_, err := tx.Take(identity.KindCredential, []identity.Object{&identity.Credential{ID: "d", Name: "d", SealedWith: "k1"}})
			return err
		})
		stale("another name", func(tx *store.Tx) error {
			return tx.Rekey(store.Updated, credential, &identity.Credential{ID: "e", Name: "c", SealedWith: "k1", Values: map[string]string{"a": "x"}})
		})
		rows, err := s.SealedRows(t.Context())
		want := map[string]map[string]int{"k1": {"model": 1, "credential": 1, "config": 1}, "k2": {"sealing_key": 1}}
		if err != nil || !reflect.DeepEqual(rows, want) {
			t.Errorf("%v %v", rows, err)
		}
		retire := func(id string) error {
			return s.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error { return tx.Retire(id) })
		}
		var used *store.InUseError
		if err := retire("k1"); !errors.As(err, &used) || !strings.Contains(err.Error(), "1 model, 1 credential, 1 section of settings") {
			t.Errorf("%v", err)
		}
		others := store.Query{Where: []store.Cond{store.Ne("sealed_with", ""), store.Ne("sealed_with", "k2")}}
		models, err := store.Find[identity.Model](t.Context(), s, others)
		credentials, credentialsErr := store.Find[identity.Credential](t.Context(), s, others)
		settings, settingsErr := store.Find[identity.ConfigItem](t.Context(), s, others)
		if err := errors.Join(err, credentialsErr, settingsErr); err != nil || len(models) != 1 || len(credentials) != 1 || len(settings) != 1 {
			t.Fatalf("%v %v %v %v", models, credentials, settings, err)
		}
		change(t, s, func(tx *store.Tx) error {
			m, c, i := models[0], credentials[0], settings[0]
			m.SealedWith, c.SealedWith, i.SealedWith = "k2", "k2", "k2"
			return errors.Join(tx.UpdateAs(store.Resealed, m), tx.UpdateAs(store.Resealed, c), tx.UpdateAs(store.Resealed, i))
		})
		if rows, err := s.SealedRows(t.Context()); err != nil || rows["k1"] != nil {
			t.Errorf("%v %v", rows, err)
		}
		if err := retire("k1"); err != nil {
			t.Error(err)
		}
		for _, id := range []string{"k1", "k2", "k3"} {
			if err := retire(id); err == nil {
				t.Errorf("%s is retired", id)
			}
		}
		if keys, err := s.SealingKeys(t.Context()); err != nil || keys[0].RetiredAt == nil || keys[1].RetiredAt != nil {
			t.Errorf("%+v %v", keys, err)
		}
		change(t, s, func(tx *store.Tx) error { return tx.SealAuditKey("k1", "again", "k2") })
		promote(t, s, "k1") // once more
		if keys, err := s.SealingKeys(t.Context()); err != nil || keys[1].ID != "k1" || keys[1].RetiredAt != nil || keys[1].AuditKey != "" {
			t.Errorf("%+v %v", keys, err)
		}
		changes, _, err := s.Changes(t.Context(), store.ChangeFilter{Kinds: []identity.Kind{identity.KindSealingKey}, Oldest: true})
		if err != nil || len(changes) != 4 || changes[1].Action != store.Promoted || changes[1].ID != "k2" ||
			string(changes[1].Before) != `{"sealing_key":"k1"}` || changes[2].Action != store.Retired {
			t.Errorf("%+v %v", changes, err)
		}
		r := chained(t, s)
		mustVerify(t, s, r.Last)
	})
}

// TestConfigSecrets: of sealed settings the record has names and digests.
func TestConfigSecrets(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		insert(t, s, config("environment_variables", "k", "canary-1"), config("other", "k", "canary-2"), config("general_settings", "", "plain"))
		change(t, s, func(tx *store.Tx) error { return tx.Update(config("environment_variables", "k", "canary-3")) })
		changes, _, err := s.Changes(t.Context(), store.ChangeFilter{Oldest: true})
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range changes {
			text := string(c.Before) + string(c.After)
			if strings.Contains(text, "canary") || !strings.Contains(text, "OPENAI_API_KEY") || strings.Contains(text, "plain") != (i == 2) {
				t.Errorf("%d: %s", i, text)
			}
		}
		if b, a := string(changes[3].Before), string(changes[3].After); b == a || strings.Count(b+a, "sha256:") != 2 {
			t.Errorf("%s %s", b, a)
		}
	})
}

func TestHosts(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		started := time.Date(2026, 11, 21, 1, 2, 3, 0, time.UTC)
		a := store.Host{ID: "a", Name: "höst", Version: "1", Keys: map[string]string{"k1": "f1", "k2": "f2"}, WritesWith: "k1", StartedAt: started}
		for _, h := range []store.Host{a, {ID: "b"}} {
			if err := s.SawHost(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		hosts, err := s.Hosts(t.Context(), time.Minute)
		if err != nil || len(hosts) != 2 || time.Since(hosts[0].SeenAt).Abs() > time.Minute {
			t.Fatalf("%+v %v", hosts, err)
		}
		a.SeenAt = hosts[0].SeenAt
		if !reflect.DeepEqual(hosts[0], a) || len(hosts[1].Keys) != 0 {
			t.Errorf("%+v", hosts)
		}
		ago := func(host, age string) {
			t.Helper()
			statement := "UPDATE sluice.hosts SET seen_at = seen_at - interval '" + age + " minutes' WHERE host_id = '" + host + "'"
			if s.Path() != "" {
				statement = "UPDATE sluice.hosts SET seen_at = seen_at - " + age + " * 60000000 WHERE host_id = '" + host + "'"
			}
			if err := store.Run(t.Context(), s, statement); err != nil {
				t.Fatal(err)
			}
		}
		ago("b", "2")
		change(t, s, func(tx *store.Tx) error {
			hosts, err := tx.Hosts(time.Minute)
			if err == nil && (len(hosts) != 1 || hosts[0].ID != "a") {
				t.Errorf("%+v", hosts)
			}
			return err
		})
		ago("b", "20000")
		a.WritesWith, a.Version = "k2", "2"
		for range 100 { // old hosts are looked for now and then
			if err := s.SawHost(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}
		if hosts, err = s.Hosts(t.Context(), 10000*time.Hour); err != nil || len(hosts) != 1 || hosts[0].WritesWith != "k2" || hosts[0].Version != "2" {
			t.Errorf("%+v %v", hosts, err)
		}
	})
}
