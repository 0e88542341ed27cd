package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"

	"sluice/internal/boot"
	"sluice/internal/dbtest"
	"sluice/internal/env"
	"sluice/migrator/migrate"
	"sluice/proxy/bill"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// TestSpendRelease: what a host holds is listed, and given back only when it is
// gone or somebody insists.
func TestSpendRelease(t *testing.T) {
	t.Run("postgres", func(t *testing.T) { testSpendRelease(t, migrate.Target{Postgres: dbtest.Postgres(t)}) })
	t.Run("sqlite", func(t *testing.T) { testSpendRelease(t, migrate.Target{SQLite: dbtest.SQLite(t)}) })
}

func testSpendRelease(t *testing.T, target migrate.Target) {
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(store.Config{Postgres: target.Postgres, SQLite: target.SQLite, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out bytes.Buffer
	var stdin *os.File
	run := func(command string, args cli) error {
		t.Helper()
		out.Reset()
		p := &boot.Process{Stdin: strings.NewReader("yes\n"), Stdout: &out, Stderr: &out, Environ: (*env.Environ)(nil).With(nil)}
		if stdin != nil {
			p.Stdin = stdin
		}
		return runSpend(ctx, p, &args, command, target, migrate.Options{Log: log})
	}
	release := func(host string, yes, force bool) error {
		t.Helper()
		var args cli
		args.Spend.Release = spendRelease{Host: host, Yes: yes, Force: force}
		return run("spend release <host>", args)
	}
	refused := func(err error, names ...string) {
		t.Helper()
		if err == nil {
			t.Fatal("nothing was refused")
		}
		for _, name := range names {
			if !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q does not name %q in one line", err, name)
			}
		}
	}
	if err := run("spend leases", cli{}); err != nil || !strings.Contains(out.String(), "no host has leased") {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, h := range []bill.Holder{
		{Holder: "h1", HostID: "id1", HostName: "gw1"},
		{Holder: "h2", HostID: "id1", HostName: "gw1"},
		{Holder: "h3", HostID: "id3", HostName: "twin"},
		{Holder: "h4", HostID: "id4", HostName: "twin"},
	} {
		if _, err := s.Beat(ctx, h); err != nil {
			t.Fatal(err)
		}
	}
	for _, holder := range []string{"h1", "h2"} {
		ask := bill.LeaseAsk{Kind: bill.KindTeam, ID: "team-" + holder, Max: 10 * money.Dollar, Least: money.Dollar / 4, Want: money.Dollar / 4, First: true}
		if _, err := s.Lease(ctx, holder, []bill.LeaseAsk{ask}); err != nil {
			t.Fatal(err)
		}
	}
	if err := run("spend leases", cli{}); err != nil || !strings.Contains(out.String(), "gw1") || !strings.Contains(out.String(), "$0.25") {
		t.Errorf("%v\n%s", err, out.String())
	}
	var args cli
	args.Spend.Leases = spendLeases{Host: "id1", JSON: true}
	var list []holderStatus
	if err := run("spend leases <host>", args); err != nil || json.Unmarshal(out.Bytes(), &list) != nil || len(list) != 2 ||
		list[0].Leases[0].ID != "team-h1" || list[0].Leases[0].Scope != "team" || !list[1].Alive || list[1].Amount != money.Dollar/4 {
		t.Errorf("%v\n%s", err, out.String())
	}
	refused(release("gw9", true, false), "gw9", "spend leases")
	refused(release("twin", true, true), "twin", "id")
	refused(release("gw1", true, false), "gw1", "alive", "--force")
	refused(release("gw1", false, true), "--yes") // nobody is there
	stdin, err = os.Open("/dev/null")             // is one to ask, that says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	refused(release("gw1", false, true), "nothing was released")
	if !strings.Contains(out.String(), "$0.5 of 2 budgets") {
		t.Errorf("it is not said what goes back: %s", out.String())
	}
	if err := release("gw1", true, true); err != nil || !strings.Contains(out.String(), "$0.5 of 2 budgets can be spent again") {
		t.Errorf("%v %s", err, out.String())
	}
	refused(release("gw1", true, true), "gw1")
	if holders, err := s.Holders(ctx, ""); err != nil || len(holders) != 2 {
		t.Errorf("%+v %v", holders, err)
	}
}
