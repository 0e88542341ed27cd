package app

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"sluice/internal/dbtest"
	"sluice/internal/env"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// both runs a test on an empty, migrated database of either kind.
func both(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Helper()
	eachKind(t, func(t *testing.T, c store.Config) {
		s, err := store.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		test(t, s)
	})
}

// eachKind names an empty, migrated database of either kind.
func eachKind(t *testing.T, test func(t *testing.T, c store.Config)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) { test(t, store.Config{Postgres: dbtest.Postgres(t)}) })
	t.Run("sqlite", func(t *testing.T) { test(t, store.Config{SQLite: dbtest.SQLite(t)}) })
}

func ring(t *testing.T, salt string) *seal.Ring {
	t.Helper()
	r, err := seal.New(env.Secret(salt))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sealedModel is a deployment as the API stores it.
func sealedModel(t *testing.T, r *seal.Ring, id string) *identity.Model {
	t.Helper()
	key, err := r.SealJSON(identity.KindModel.Table(), id, "api_key", json.RawMessage(`"sk-secret"`))
	if err != nil {
		t.Fatal(err)
	}
	name, err := r.SealJSON(identity.KindModel.Table(), id, "model", json.RawMessage(`"openai/x"`))
	if err != nil {
		t.Fatal(err)
	}
	return &identity.Model{ID: id, Name: "n-" + id, Params: identity.Fields{"api_key": key, "model": name, "rpm": json.RawMessage("5")}, SealedWith: r.ID()}
}

func insert(t *testing.T, s *store.Store, o identity.Object) {
	t.Helper()
	if err := s.Change(context.Background(), store.Actor{}, func(tx *store.Tx) error { return tx.Insert(o) }); err != nil {
		t.Fatal(err)
	}
}

// TestStored reads what is stored, opens it, and leaves out what does not open.
func TestStored(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store) {
		r := ring(t, "sk-right")
		insert(t, s, sealedModel(t, r, "good"))
		insert(t, s, sealedModel(t, ring(t, "sk-wrong"), "other-key"))
		moved := sealedModel(t, r, "source")
		moved.ID = "moved"
		insert(t, s, moved)
		value, err := r.Seal(seal.Place(identity.KindCredential.Table(), "c1", "api_key"), "sk-credential")
		if err != nil {
			t.Fatal(err)
		}
		insert(t, s, &identity.Credential{ID: "c1", Name: "shared", Values: map[string]string{"api_key": value}, SealedWith: r.ID()})
		insert(t, s, &identity.Credential{ID: "c2", Name: "broken", Values: map[string]string{"api_key": value}})
		insert(t, s, &identity.ConfigItem{Name: "general_settings", Value: identity.Fields{"max_request_size_mb": json.RawMessage("2")}})
		found, err := readStored(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(found)
		if err != nil || strings.Contains(string(raw), "sk-secret") || strings.Contains(string(raw), "sk-credential") {
			t.Fatalf("what is kept on disk shows a secret: %s, %v", raw, err)
		}
		o, err := newOverlay(raw, r)
		if err != nil {
			t.Fatal(err)
		}
		c := o.over()
		if len(c.Models) != 1 || string(c.Models[0].Params["api_key"]) != `"sk-secret"` || string(c.Models[0].Params["rpm"]) != "5" {
			t.Errorf("models %+v", c.Models)
		}
		if len(c.Credentials) != 1 || c.Credentials[0].Values["api_key"] != "sk-credential" {
			t.Errorf("credentials %+v", c.Credentials)
		}
		if string(c.Sections["general_settings"]["max_request_size_mb"]) != "2" {
			t.Errorf("sections %+v", c.Sections)
		}
		if all := strings.Join(o.broken, "\n"); len(o.broken) != 3 || strings.Contains(all, "sk-") {
			t.Errorf("broken: %s", all)
		}
		if again, _ := newOverlay(raw, r); again.sum != o.sum {
			t.Error("the same has two sums")
		}
	})
	if _, err := newOverlay([]byte("{"), ring(t, "sk-right")); err == nil {
		t.Error("half of it is taken")
	}
	if (*overlay)(nil).over() != nil {
		t.Error("nothing is something")
	}
}
