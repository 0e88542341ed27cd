//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

// moneyModel is one deployment with prices of its own, so that what was charged
// for another one shows.
type moneyModel struct {
	group, id, script string
	order             int
	in, out           int64  // nano-dollars a token
	extra             string // parameters of the deployment
}

// moneyModels answer well, slowly, in streams, at the second deployment, at the
// second try, not at all, without saying what it cost, and for nothing.
var moneyModels = []moneyModel{
	{group: "whole", id: "d-whole", script: "ok,body=1000", in: 3000, out: 15_000},
	{group: "slow", id: "d-slow", script: "slow,for=150ms/ok,body=700", in: 2500, out: 10_001},
	{group: "stream", id: "d-stream", script: "ok,n=5-25,every=8ms,size=4-40", in: 1250, out: 5003},
	{group: "long", id: "d-long", script: "ok,n=60-90,every=20ms,size=4-40", in: 777, out: 3333},
	{group: "next", id: "d-next-bad", script: "s503", order: 1, in: 9_000_000, out: 9_000_000},
	{group: "next", id: "d-next-good", script: "ok,n=3-9", order: 2, in: 1100, out: 2200},
	{group: "again", id: "d-again", script: "first,n=1/s500", in: 1300, out: 2600},
	{group: "refused", id: "d-refused", script: "s400", in: 8_000_000, out: 8_000_000},
	{group: "broken", id: "d-broken", script: "cut,at=1100,n=20-40,size=4-40", in: 1700, out: 3400, extra: ", num_retries: 0"},
	{group: "silent", id: "d-silent", script: "usage,kind=missing,n=5-25", in: 1900, out: 3800},
	{group: "free", id: "d-free", script: "ok,n=3-9", in: 0, out: 0},
}

func modelByID(models []moneyModel, id string) *moneyModel {
	for i := range models {
		if models[i].id == id {
			return &models[i]
		}
	}
	return nil
}

// dollars is an amount as a configuration has it.
func dollars(nano int64) string {
	sign := ""
	if nano < 0 {
		sign, nano = "-", -nano
	}
	return fmt.Sprintf("%s%d.%09d", sign, nano/1e9, nano%1e9)
}

// moneyConfig is a configuration with the models.
func moneyConfig(p *fakeprovider.Provider, models []moneyModel, settings string) string {
	var b strings.Builder
	b.WriteString("model_list:\n")
	for _, m := range models {
		extra := m.extra
		if m.order > 0 {
			extra += fmt.Sprintf(", order: %d", m.order)
		}
		fmt.Fprintf(&b, "  - {model_name: %s, litellm_params: {model: openai/%s, api_key: key-%s, api_base: %q, input_cost_per_token: %s, output_cost_per_token: %s%s}, model_info: {id: %s}}\n",
			m.group, fakeprovider.Model, m.id, p.URL(m.script), dollars(m.in), dollars(m.out), extra, m.id)
	}
	b.WriteString("router_settings: {num_retries: 2}\n")
	b.WriteString(settings)
	return b.String()
}

// moneySettings ship twice a second.
const moneySettings = "general_settings: {proxy_batch_write_at: 1}\n"

// moneyOptions say how a world is built.
type moneyOptions struct {
	Options
	hosts    int              // 0 is 1
	sqlite   bool             // one host, in its state directory
	server   *pgtest.Server   // nil: the one of all tests
	url      string           // of the database; "" makes one
	models   []moneyModel     // nil is moneyModels
	settings string           // "" is moneySettings
	before   func(*Appliance) // before a host's first start
}

// moneyWorld is hosts on one database before a provider that knows what it has
// served, with keys whose spend is counted in many ways.
type moneyWorld struct {
	t      *testing.T
	name   string
	p      *fakeprovider.Provider
	models []moneyModel
	hosts  []*Appliance
	db     *recordDB
	url    string // where clients call
	keys   []moneyKey
}

// moneyKey is a key and what its rows must say of it.
type moneyKey struct {
	key, token, user, team, organization string
}

// digest is how a key is known in the database.
func digest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// newMoney boots a world.
func newMoney(t *testing.T, o moneyOptions) *moneyWorld {
	t.Helper()
	p, err := fakeprovider.New(fakeprovider.Config{Ledger: 1 << 21, Numbered: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	w := &moneyWorld{t: t, name: t.Name(), p: p, models: o.models, db: &recordDB{t: t, url: o.url}}
	if w.models == nil {
		w.models = moneyModels
	}
	if o.settings == "" {
		o.settings = moneySettings
	}
	if !o.sqlite && w.db.url == "" {
		if o.server != nil {
			w.db.url = o.server.Database(t)
		} else {
			w.db.url = pgtest.Database(t)
		}
	}
	for range max(o.hosts, 1) {
		w.addHost(o)
	}
	if o.sqlite {
		w.db.file = filepath.Join(w.hosts[0].Dir, "sluice.db")
	}
	if w.url = w.hosts[0].URL(); len(w.hosts) > 1 {
		w.url = "http://" + balancer(t, w.hosts)
	}
	return w
}

// addHost boots one more host on the world's database.
func (w *moneyWorld) addHost(o moneyOptions) *Appliance {
	w.t.Helper()
	opts := o.Options
	opts.Config = moneyConfig(w.p, w.models, o.settings)
	opts.Env = map[string]string{"LITELLM_SALT_KEY": "sk-salt-of-the-tests", "LITELLM_LOG": "WARNING"}
	if w.db.url != "" {
		opts.Env["DATABASE_URL"] = w.db.url
	}
	maps.Copy(opts.Env, o.Env)
	a := New(w.t, opts)
	if o.before != nil {
		o.before(a)
	}
	a.Start()
	a.slotsReady(max(o.Workers, 2))
	w.hosts = append(w.hosts, a)
	return a
}

// slotsReady waits until so many slots are ready.
func (a *Appliance) slotsReady(n int) {
	a.t.Helper()
	a.WaitReady(30 * time.Second)
	a.WaitStatus(30*time.Second, "all slots ready", func(s fleet.Status) bool {
		for _, slot := range s.Slots {
			if slot.State != "ready" {
				return false
			}
		}
		return len(s.Slots) == n
	})
}

// plain makes two keys without budgets: what they may spend does not depend on
// the database.
func (w *moneyWorld) plain() {
	w.t.Helper()
	a := w.hosts[0]
	a.manage("/team/new", `{"team_id":"plain-team"}`)
	one, two := a.generate(`{}`), a.generate(`{"team_id":"plain-team"}`)
	w.keys = []moneyKey{{key: one, token: digest(one)}, {key: two, token: digest(two), team: "plain-team"}}
	w.allKnown()
}

// cast makes an organization, a team, a user and the keys of the load: of
// nobody, of a user, of a team, of a member of a team. Their budgets are too
// large to refuse anything, and there to be counted.
func (w *moneyWorld) cast() {
	w.t.Helper()
	a := w.hosts[0]
	const budget = `"max_budget":1000,"budget_duration":"30d"`
	organization, _ := a.manage("/organization/new", `{"organization_alias":"money","models":[],`+budget+`}`)["organization_id"].(string)
	a.manage("/user/new", `{"user_id":"money-user","auto_create_key":false,`+budget+`}`)
	a.manage("/user/new", `{"user_id":"money-member","auto_create_key":false}`)
	a.manage("/team/new", fmt.Sprintf(`{"team_id":"money-team","organization_id":%q,%s}`, organization, budget))
	a.manage("/team/member_add", `{"team_id":"money-team","member":{"user_id":"money-member","role":"user"}}`)
	a.manage("/customer/new", `{"user_id":"customer-0",`+budget+`}`)
	for _, k := range []struct{ body, user, team, organization string }{
		{`{}`, "", "", ""},
		{`{"user_id":"money-user",` + budget + `}`, "money-user", "", ""},
		{`{"team_id":"money-team"}`, "", "money-team", organization},
		{`{"team_id":"money-team","user_id":"money-member",` + budget + `}`, "money-member", "money-team", organization},
	} {
		key := a.generate(k.body)
		w.keys = append(w.keys, moneyKey{key, digest(key), k.user, k.team, k.organization})
	}
	w.allKnown()
}

// allKnown waits until every host knows every key.
func (w *moneyWorld) allKnown() {
	w.t.Helper()
	for _, host := range w.hosts {
		for _, k := range w.keys {
			w.known(host, k)
		}
	}
}

// known waits until a host answers a key.
func (w *moneyWorld) known(a *Appliance, k moneyKey) {
	w.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r, err := a.Do("GET", "/v1/models", "", bearer(k.key))
		if err == nil && r.Status == 200 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("a new key is not known: %v %s\n%s", err, r.text(), a.Tail(20))
		}
	}
}

// tail is what the hosts say.
func (w *moneyWorld) tail(n int) string {
	var b strings.Builder
	for i, a := range w.hosts {
		lines := slices.DeleteFunc(strings.SplitAfter(a.Tail(4000), "\n"), func(line string) bool {
			return strings.Contains(line, " request failed ") || strings.HasPrefix(line, "warning: ")
		})
		fmt.Fprintf(&b, "host %d: %s\n", i, strings.Join(lines[max(0, len(lines)-n):], ""))
	}
	return b.String()
}
