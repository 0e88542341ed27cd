//go:build !race

package gateway

import (
	"testing"

	"sluice/proxy/auth"
	"sluice/proxy/budget"
	"sluice/proxy/identity"
	"sluice/proxy/journal"
	"sluice/proxy/limit"
	"sluice/proxy/money"
	"sluice/supervisor/fleet"
)

// everything is an exchange with all that is there: a virtual key of a team with
// limits of requests and tokens and a budget, a price, a real journal.
func everything(t testing.TB) (*bench, *Exchange) {
	ring := &keyring{}
	ring.add("sk-of-a-team", func(k *identity.Key) {
		k.TeamID, k.Models = "t1", []string{"mine"}
		k.RPMLimit, k.TPMLimit, k.MaxBudget = ptr(int64(1<<40)), ptr(int64(1<<40)), ptr(1_000_000*money.Dollar)
	})
	w, err := journal.Open(journal.Config{Dir: t.TempDir(), Host: "h", Holder: "00000000000000010000000000000001", Generation: 1, Bound: 6 << 30})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	b, x := staticBench(t)
	table := hostTable(t)
	b.budgets = budgetsOf(t, budget.Config{Table: table, Leaser: &bank{}, HostID: "h"})
	b.limiter = limit.New(limit.Config{Table: table, Holders: fleet.NewRecordHolders(table, 0)})
	b.journal = w
	b.bindings[0].price = dear(t)
	b.keys = auth.New(auth.Config{MasterKey: master, Directory: directory(t, ring)})
	return b, x
}

func TestEverythingAllocates(t *testing.T) {
	b, x := everything(t)
	key, body := []byte("sk-of-a-team"), x.Body
	for range 50 {
		b.once(t, x, key, body)
	}
	if n := testing.AllocsPerRun(500, func() { b.once(t, x, key, body) }); n > 0 {
		t.Fatalf("%v allocations", n)
	}
	if x.Caller.Team != "t1" || x.paper.intent.Claim == 0 || len(x.paper.intent.Accounts) != 3 || x.costs.Cost == 0 {
		t.Fatalf("%+v %+v", x.paper.intent, x.costs)
	}
}

func BenchmarkEverything(b *testing.B) {
	g, x := everything(b)
	key, body := []byte("sk-of-a-team"), x.Body
	b.ReportAllocs()
	for b.Loop() {
		g.once(b, x, key, body)
	}
}
