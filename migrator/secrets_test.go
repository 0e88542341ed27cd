package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/boot"
	"sluice/internal/dbtest"
	"sluice/internal/env"
	"sluice/migrator/migrate"
	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// TestSecrets: status tells which key holds what and who has it, and a key can be
// retired when nothing needs it any more, not before.
func TestSecrets(t *testing.T) {
	t.Run("postgres", func(t *testing.T) { testSecrets(t, migrate.Target{Postgres: dbtest.Postgres(t)}) })
	t.Run("sqlite", func(t *testing.T) { testSecrets(t, migrate.Target{SQLite: dbtest.SQLite(t)}) })
}

func testSecrets(t *testing.T, target migrate.Target) {
	ctx := context.Background()
	ring, err := seal.NewRing(seal.Entry{ID: "new", Secret: "sk-new-secret"}, seal.Entry{Secret: "sk-old-secret"})
	if err != nil {
		t.Fatal(err)
	}
	old := ring.IDs()[1]
	log := slog.New(slog.DiscardHandler)
	o := migrate.Options{Log: log}
	s, err := openStore(target, ring, log)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	keyring := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keyring, []byte("new:sk-new-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	run := func(command string, args cli) error {
		t.Helper()
		out.Reset()
		p := &boot.Process{Stdout: &out, Stderr: &out, Environ: (*env.Environ)(nil).With(map[string]string{
			"LITELLM_SALT_KEY": "sk-old-secret", "SLUICE_KEYRING_FILE": keyring, fleet.EnvStateDir: t.TempDir(),
		})}
		return runSecrets(ctx, p, &args, command, target, o)
	}
	retire := func(id string) error {
		t.Helper()
		var args cli
		args.Secrets.Retire.ID = id
		return run("secrets retire <id>", args)
	}
	refused := func(err error, names ...string) {
		t.Helper()
		var exit *boot.ExitError
		if !errors.As(err, &exit) || exit.Code != fleet.ExitConfig {
			t.Fatalf("got %v", err)
		}
		for _, name := range append(names, "") {
			if !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q does not name %q in one line", err, name)
			}
		}
	}
	if err := run("secrets status", cli{}); err != nil || !strings.Contains(out.String(), "no gateway has started") {
		t.Errorf("%v\n%s", err, out.String())
	}
	change := func(fn func(tx *store.Tx) error) {
		t.Helper()
		if err := s.Change(ctx, store.Actor{}, fn); err != nil {
			t.Fatal(err)
		}
	}
	promote := func(id string) func(tx *store.Tx) error {
		return func(tx *store.Tx) error {
			writing, _ := ring.Writing(id)
			check, err := writing.Check()
			if err != nil {
				return err
			}
			return tx.Promote(store.SealingKey{ID: id, Check: check}, nil)
		}
	}
	change(promote(old))
	change(func(tx *store.Tx) error { return tx.Insert(&identity.Model{ID: "m", Name: "m", SealedWith: old}) })
	if err := s.SawHost(ctx, store.Host{ID: "h", Name: "gateway-1", Keys: ring.Fingerprints(), WritesWith: old}); err != nil {
		t.Fatal(err)
	}
	refused(retire(old), "everybody seals")
	change(promote("new"))
	refused(retire(old), old, "gateway-1")
	if err := s.SawHost(ctx, store.Host{ID: "h", Name: "gateway-1", Keys: ring.Fingerprints(), WritesWith: "new"}); err != nil {
		t.Fatal(err)
	}
	refused(retire(old), old, "1 model")
	if err := run("secrets status", cli{}); err != nil || !strings.Contains(out.String(), "1 model") || !strings.Contains(out.String(), "gateway-1") {
		t.Errorf("%v\n%s", err, out.String())
	}
	args := cli{}
	args.Secrets.Status.JSON = true
	var st sealingStatus
	if err := run("secrets status", args); err != nil || json.Unmarshal(out.Bytes(), &st) != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if st.Writes != "new" || len(st.Keys) != 2 || st.Keys[0].ID != old || st.Keys[0].Rows["model"] != 1 || !st.Keys[1].Writes || len(st.Keys[1].Hosts) != 1 {
		t.Errorf("%+v", st)
	}
	change(func(tx *store.Tx) error {
		m, err := store.Get[identity.Model](ctx, tx, "m")
		if err != nil {
			return err
		}
		return tx.Delete(m)
	})
	refused(retire("unheard-of"), "unheard-of")
	with := keyring
	keyring = ""
	if err := retire(old); err == nil || !strings.Contains(err.Error(), "new") {
		t.Errorf("a command without the key in use changed something: %v", err)
	}
	keyring = with
	if err := retire(old); err != nil || !strings.Contains(out.String(), old) {
		t.Errorf("%v\n%s", err, out.String())
	}
	refused(retire(old), "retired already")
}
