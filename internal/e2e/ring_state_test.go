//go:build e2e

package e2e

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

// oneText is the one value of a query, "" for none.
func oneText(t *testing.T, sql *pgtest.Session, query string) string {
	t.Helper()
	rows, err := sql.Texts(query)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) == 0 {
		return ""
	}
	return rows[0][0]
}

// sealedRows counts what is sealed, by the ids of keys.
func sealedRows(t *testing.T, sql *pgtest.Session) map[string]int {
	t.Helper()
	rows, err := sql.Texts(`SELECT sealed_with, count(*) FROM (SELECT sealed_with FROM sluice.models UNION ALL
		SELECT sealed_with FROM sluice.credentials UNION ALL SELECT sealed_with FROM sluice.config_items) x WHERE sealed_with <> '' GROUP BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, row := range rows {
		out[row[0]], _ = strconv.Atoi(row[1])
	}
	return out
}

// within waits until ok, and returns how long it took.
func within(t *testing.T, most time.Duration, what string, hosts []*Appliance, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > most {
			for _, a := range hosts {
				t.Log(a.Tail(25))
			}
			t.Fatalf("%s: not after %v", what, most)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(began)
}

// reload has a host read its files again and waits for its verdict, and for each
// of its workers to have what was applied.
func (a *Appliance) reload(applied bool) {
	a.t.Helper()
	status := a.MustStatus()
	before, had := status.Config, configs(status)
	a.Signal(syscall.SIGHUP)
	got := a.WaitStatus(20*time.Second, "done with a reload", func(s fleet.Status) bool {
		return s.Config.Applied+s.Config.Rejected > before.Applied+before.Rejected
	}).Config
	if (got.Rejected == before.Rejected) != applied {
		a.t.Errorf("a reload: %+v, before it %+v\n%s", got, before, a.Tail(10))
	}
	if !applied {
		return
	}
	a.WaitStatus(20*time.Second, "of the new configuration", func(s fleet.Status) bool {
		for pid, number := range configs(s) {
			if old, there := had[pid]; there && number <= old {
				return false
			}
		}
		return true
	})
}

// configs are the numbers of the configurations that workers have in force.
func configs(s fleet.Status) map[int]uint64 {
	out := map[int]uint64{}
	for _, slot := range s.Slots {
		for _, g := range slot.Generations {
			if g.State == "ready" {
				out[g.PID] = g.Config
			}
		}
	}
	return out
}

// audited verifies the record of changes with the programs and the keys of a
// host.
func (a *Appliance) audited(t *testing.T, args ...string) string {
	t.Helper()
	code, said := a.command("migrator", append([]string{"audit", "verify", "--state_dir", a.Dir}, args...)...)
	if code != 0 {
		t.Errorf("migrator audit verify: exit %d\n%s", code, said)
	}
	return said
}
