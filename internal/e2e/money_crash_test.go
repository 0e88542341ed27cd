//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
)

// crash is a moment at which PostgreSQL is stopped in mode immediate.
type crash struct {
	name string
	// holds makes the ledger wait at that moment; waits counts what of the gateway
	// does; freed undoes it after the recovery.
	holds, waits, freed string
	session             bool // holds is the transaction of a session that stays
}

// databaseCrashes are a server that does whatever it does, one in the middle of a batch,
// and one that has committed a batch and has not said so: nobody but a standby
// that does not exist could let it answer.
var databaseCrashes = []crash{
	{name: "anywhere"},
	{
		name: "in the middle of a batch", session: true,
		holds: "BEGIN; LOCK TABLE sluice.daily_spend IN EXCLUSIVE MODE",
		waits: "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sluice.daily_spend'::regclass",
	},
	{
		name:  "committed, and nobody knows",
		holds: "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", waits: "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query ILIKE 'commit%'",
		freed: "ALTER SYSTEM RESET synchronous_standby_names",
	},
}

// at stops the server at the moment and lets it recover.
func (c *crash) at(t *testing.T, db *pgtest.Server, url string) {
	t.Helper()
	admin, reload := db.URL("postgres"), "SELECT pg_reload_conf()"
	switch {
	case c.session:
		session := pgtest.Open(t, url)
		defer session.Close()
		if err := session.Exec(c.holds); err != nil {
			t.Fatal(err)
		}
	case c.holds != "":
		pgtest.Exec(t, admin, c.holds)
		pgtest.Exec(t, admin, reload)
	}
	if c.waits != "" {
		watch := pgtest.Open(t, url)
		defer watch.Close()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			rows, err := watch.Texts(c.waits)
			if err != nil {
				t.Fatal(err)
			}
			if rows[0][0] != "0" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: the ledger does not come to it", c.name)
			}
		}
	}
	db.Crash(t)
	time.Sleep(200 * time.Millisecond)
	db.Start(t)
	if c.freed != "" {
		pgtest.Exec(t, admin, c.freed)
		pgtest.Exec(t, admin, reload)
	}
}

// crashLoad has the server crash in every way under load, and returns the calls.
func crashLoad(t *testing.T, w *moneyWorld, db *pgtest.Server, rounds int) []moneyCall {
	t.Helper()
	w.cast()
	load := w.newLoad("crash").start(24, 60*time.Millisecond, moneyKinds)
	was := db.Recoveries(t)
	for range rounds {
		for i := range databaseCrashes {
			time.Sleep(1200 * time.Millisecond) // until the ledger ships again, some streams being open
			databaseCrashes[i].at(t, db, w.db.url)
		}
	}
	time.Sleep(time.Second)
	if n := db.Recoveries(t) - was; n != rounds*len(databaseCrashes) {
		t.Errorf("PostgreSQL has recovered %d times from %d crashes", n, rounds*len(databaseCrashes))
	}
	return load.stop()
}

// M3: PostgreSQL crashes (mode immediate) and recovers, also where a batch is
// half written, and where it is written and nobody was told. The same finds a
// ledger that adds up rows that were there already.
func TestMoneyCrashedPostgres(t *testing.T) {
	t.Run("exactly once", func(t *testing.T) {
		t.Parallel()
		db := pgtest.New(t)
		w := newMoney(t, moneyOptions{Options: Options{Workers: 4}, server: db})
		rounds := length(1, 60)
		v := w.settled(crashLoad(t, w, db, rounds), 30*time.Second)
		moved := strings.Count(w.hosts[0].Log(), "the database has another place in the journals")
		t.Logf("M3 immediate: %d crashes, %d of them with a commit that nobody was told of, %d batches found written; %v", rounds*len(databaseCrashes), rounds, moved, v)
		if moved == 0 { // another one's commit may be what waited, now and then
			t.Error("no batch was found to be written: too little to prove anything")
		}
		if v.statuses["success"] < 100 {
			t.Errorf("too little happened to prove anything: %v", v)
		}
	})
	t.Run("known bad", func(t *testing.T) {
		t.Parallel()
		db := pgtest.New(t)
		w := newMoney(t, moneyOptions{Options: Options{Workers: 2, Variant: Bad, Env: map[string]string{"SLUICE_TEST_BAD": "double-ship"}}, server: db})
		calls := crashLoad(t, w, db, 1)
		var v *verdict
		for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(500 * time.Millisecond) {
			if v = w.compare(calls); len(v.double) > 0 || time.Now().After(deadline) {
				break
			}
		}
		t.Logf("M3 immediate, known bad double-ship: %v", v)
		if len(v.double) == 0 {
			t.Error("double-ship: nothing was found: the test does not see what it should")
		}
	})
}
