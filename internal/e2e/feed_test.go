//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

// feedConfig lets proxy admins alone list models: the role of a user shows in
// what its keys may call.
const feedConfig = `
model_list:
  - model_name: mock
    litellm_params: {model: openai/gpt-4o, mock_response: hi}
  - model_name: other
    litellm_params: {model: openai/gpt-4o, mock_response: hi}
general_settings: {store_model_in_db: true, admin_only_routes: ["/v1/models"]}
`

// cluster is several hosts on one database. The first one makes the changes.
type cluster struct {
	t        *testing.T
	url      string // of the database, not by way of a pooler
	hosts    []*Appliance
	tables   []*fleet.Table
	seats    []*seat
	provider *fakeprovider.Provider
	names    atomic.Int64
	undo     func() // what the case under way leaves behind
}

// newCluster boots three hosts: two on the database itself, the last one by way
// of PgBouncer in transaction mode, where LISTEN is impossible. With a known-bad
// behaviour all are behind PgBouncer: a notification would hide it now and then.
func newCluster(t *testing.T, o Options, bad string) *cluster {
	t.Helper()
	server := pgtest.New(t)
	t.Cleanup(func() {
		if log, err := os.ReadFile(server.Dir + "/log"); t.Failed() {
			t.Logf("last lines of PostgreSQL's log (%v):\n%s", err, log[max(0, len(log)-4000):])
		}
	})
	c := &cluster{t: t, url: server.Database(t), provider: Provider(t)}
	pooled := server.Bouncer(t, c.url)
	urls := []string{c.url, c.url, pooled}
	if bad != "" {
		o.Variant, urls = Bad, []string{pooled, pooled, pooled}
	}
	for i, url := range urls {
		o.Config = feedConfig
		env := map[string]string{"DATABASE_URL": url, "LITELLM_SALT_KEY": "sk-salt-of-the-tests", "SLUICE_TEST_BAD": bad}
		host := o
		host.Env = env
		a := New(t, host)
		a.Start()
		a.allReady()
		table := a.Table()
		c.hosts, c.tables = append(c.hosts, a), append(c.tables, table)
		c.seats = append(c.seats, a.seats([]string{"first", "second", "pooled"}[i], table)...)
	}
	closeSeats(t, c.seats)
	return c
}

// post makes a management call on the first host and returns its answer. A
// worker that is killed meanwhile is no failure of the call: it is made again.
func (c *cluster) post(method, path string, body map[string]any) map[string]any {
	c.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	a := c.hosts[0]
	for try := 1; ; try++ {
		r, err := a.Do(method, path, string(raw), map[string]string{"Authorization": "Bearer " + a.Key, "Content-Type": "application/json"})
		if err != nil && try < 4 {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if err != nil || r.Status != http.StatusOK {
			c.t.Fatalf("%s %s %s: %v %s\n%s", method, path, raw, err, r.text(), a.Tail(20))
		}
		out := map[string]any{}
		_ = json.Unmarshal(r.Body, &out)
		return out
	}
}

// object is a body.
type object = map[string]any

func (c *cluster) name(prefix string) string { return fmt.Sprintf("%s-%d", prefix, c.names.Add(1)) }

// key makes a key.
func (c *cluster) key(body object) string {
	c.t.Helper()
	key, _ := c.post("POST", "/key/generate", body)["key"].(string)
	if !strings.HasPrefix(key, "sk-") {
		c.t.Fatalf("no key came: %q", key)
	}
	return key
}

// news is one change: what is asked, the statuses before and after, and the
// change itself.
type news struct {
	ask
	before, after int
	do            func()
}

// newsOf are the changes that must be seen, by name.
var newsOf = []struct {
	name string
	make func(c *cluster) news
}{
	{"key blocked", func(c *cluster) news {
		key := c.key(object{})
		return news{ask{key: key, model: "mock"}, 200, 401, func() { c.post("POST", "/key/block", object{"key": key}) }}
	}},
	{"key unblocked", func(c *cluster) news {
		key := c.key(object{})
		c.post("POST", "/key/block", object{"key": key})
		return news{ask{key: key, model: "mock"}, 401, 200, func() { c.post("POST", "/key/unblock", object{"key": key}) }}
	}},
	{"key deleted", func(c *cluster) news {
		key := c.key(object{})
		return news{ask{key: key, model: "mock"}, 200, 401, func() { c.post("POST", "/key/delete", object{"keys": []string{key}}) }}
	}},
	{"key created after it was refused", func(c *cluster) news {
		key := c.name("sk-chosen-by-the-operator")
		return news{ask{key: key, model: "mock"}, 401, 200, func() { c.post("POST", "/key/generate", object{"key": key}) }}
	}},
	{"models of a key", func(c *cluster) news {
		key := c.key(object{"models": []string{"mock"}})
		return news{ask{key: key, model: "mock"}, 200, 403, func() { c.post("POST", "/key/update", object{"key": key, "models": []string{"other"}}) }}
	}},
	{"expired key prolonged", func(c *cluster) news {
		key := c.key(object{"duration": "1s"})
		time.Sleep(1100 * time.Millisecond)
		return news{ask{key: key, model: "mock"}, 401, 200, func() { c.post("POST", "/key/update", object{"key": key, "duration": "1h"}) }}
	}},
	{"old key regenerated", func(c *cluster) news {
		key := c.key(object{})
		return news{ask{key: key, model: "mock"}, 200, 401, func() { c.post("POST", "/key/"+key+"/regenerate", object{}) }}
	}},
	{"new key regenerated", func(c *cluster) news {
		key, next := c.key(object{}), c.name("sk-the-next-of-the-operator")
		return news{ask{key: next, model: "mock"}, 401, 200, func() { c.post("POST", "/key/regenerate", object{"key": key, "new_key": next}) }}
	}},
	{"regenerated key blocked in its grace", func(c *cluster) news {
		key := c.key(object{})
		next, _ := c.post("POST", "/key/regenerate", object{"key": key, "grace_period": "1h"})["key"].(string)
		return news{ask{key: key, model: "mock"}, 200, 401, func() { c.post("POST", "/key/block", object{"key": next}) }}
	}},
	{"team blocked", func(c *cluster) news {
		team := c.name("team")
		c.post("POST", "/team/new", object{"team_id": team})
		key := c.key(object{"team_id": team})
		return news{ask{key: key, model: "mock"}, 200, 401, func() { c.post("POST", "/team/block", object{"team_id": team}) }}
	}},
	{"models of a team", func(c *cluster) news {
		team := c.name("team")
		c.post("POST", "/team/new", object{"team_id": team, "models": []string{"mock"}})
		key := c.key(object{"team_id": team})
		return news{ask{key: key, model: "mock"}, 200, 403, func() { c.post("POST", "/team/update", object{"team_id": team, "models": []string{"other"}}) }}
	}},
	{"user blocked", func(c *cluster) news {
		user := c.user("internal_user")
		key := c.key(object{"user_id": user})
		return news{ask{key: key, model: "mock"}, 200, 401, func() { c.post("POST", "/user/update", object{"user_id": user, "blocked": true}) }}
	}},
	{"user deleted", func(c *cluster) news {
		user := c.user("internal_user")
		key := c.key(object{"user_id": user})
		return news{ask{key: key, model: "mock"}, 200, 401, func() { c.post("POST", "/user/delete", object{"user_ids": []string{user}}) }}
	}},
	{"user demoted", func(c *cluster) news {
		user, _ := c.user("proxy_admin"), c.user("proxy_admin") // the last one cannot be demoted
		key := c.key(object{"user_id": user})
		return news{ask{key: key}, 200, 403, func() { c.post("POST", "/user/update", object{"user_id": user, "user_role": "internal_user"}) }}
	}},
	{"customer blocked", func(c *cluster) news {
		user := c.name("customer")
		c.post("POST", "/customer/new", object{"user_id": user})
		return news{ask{c.key(object{}), "mock", user}, 200, 401, func() { c.post("POST", "/customer/block", object{"user_ids": []string{user}}) }}
	}},
	{"models of an organization", func(c *cluster) news {
		org, _ := c.post("POST", "/organization/new", object{"organization_alias": c.name("org"), "models": []string{"mock"}})["organization_id"].(string)
		key := c.key(object{"organization_id": org})
		return news{ask{key: key, model: "mock"}, 200, 403, func() {
			c.post("PATCH", "/organization/update", object{"organization_id": org, "models": []string{"other"}})
		}}
	}},
	{"model created", func(c *cluster) news {
		name := c.name("model")
		return news{ask{MasterKey, name, ""}, 400, 200, func() { c.model(name, object{"mock_response": "stored"}) }}
	}},
	{"model deleted", func(c *cluster) news {
		name := c.name("model")
		c.model(name, object{"mock_response": "stored"})
		return news{ask{MasterKey, name, ""}, 200, 400, func() { c.post("POST", "/model/delete", object{"id": name}) }}
	}},
	{"model blocked", func(c *cluster) news {
		name := c.name("model")
		c.model(name, object{"mock_response": "stored"})
		return news{ask{MasterKey, name, ""}, 200, 400, func() { c.post("POST", "/model/block", object{"model_id": name}) }}
	}},
	{"credential changed", func(c *cluster) news {
		name := c.name("model")
		values := func(behaviour string) object {
			return object{"api_key": "sk-x", "api_base": c.provider.URL(behaviour)}
		}
		c.post("POST", "/credentials", object{"credential_name": name, "credential_info": object{}, "credential_values": values("s400")})
		c.model(name, object{"litellm_credential_name": name})
		return news{ask{MasterKey, name, ""}, 400, 200, func() {
			c.post("PATCH", "/credentials/"+name, object{"credential_name": name, "credential_info": object{}, "credential_values": values("ok")})
		}}
	}},
	{"field of the configuration", func(c *cluster) news {
		field := object{"config_type": "general_settings", "field_name": "allowed_routes", "field_value": []string{"/v1/models"}}
		c.undo = func() { c.post("POST", "/config/field/delete", field) }
		return news{ask{key: c.key(object{}), model: "mock"}, 200, 403, func() { c.post("POST", "/config/field/update", field) }}
	}},
}

// user makes a user.
func (c *cluster) user(role string) string {
	c.t.Helper()
	name := c.name("user")
	c.post("POST", "/user/new", object{"user_id": name, "user_role": role, "auto_create_key": false})
	return name
}

// model stores a model whose id is its name.
func (c *cluster) model(name string, params object) {
	c.t.Helper()
	params["model"] = "openai/x"
	if params["litellm_credential_name"] == nil {
		params["api_key"] = "sk-x"
	}
	c.post("POST", "/model/new", object{"model_name": name, "litellm_params": params, "model_info": object{"id": name}})
}

// spread makes a change while every worker of every host is asked all the time,
// and returns how late the other hosts saw it and what is wrong.
func (c *cluster) spread(n news) (late []time.Duration, wrong []string) {
	c.t.Helper()
	if err := until(c.seats, n.ask, n.before, 3*time.Second); err != nil {
		return nil, []string{"before the change: " + err.Error()}
	}
	w := watchSeats(c.t.Context(), c.seats, c.hosts[0], n.ask, n.before, n.after)
	n.do()
	answered := time.Now()
	for !w.seen() && time.Since(answered) < bound+500*time.Millisecond {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond) // nothing may come back
	return w.end(answered)
}

// TestChangeSeen: every kind of change is in force on all workers of its host
// when its answer has come, and within a second on a host that is notified and
// on one that can only poll.
func TestChangeSeen(t *testing.T) {
	c := newCluster(t, Options{}, "")
	for _, row := range newsOf {
		t.Run(strings.ReplaceAll(row.name, " ", "-"), func(t *testing.T) {
			outer := c.t
			c.t = t
			defer func() { c.t = outer }()
			for range length(1, 20) {
				late, wrong := c.spread(row.make(c))
				for _, line := range wrong {
					t.Error(line)
				}
				if undo := c.undo; undo != nil {
					c.undo = nil
					undo()
				}
				t.Logf("seen elsewhere after %v", late)
			}
		})
	}
}

// TestChangeSeenKnownBad: the same finds a host that does not tell its other
// workers, and one that does not follow the record.
func TestChangeSeenKnownBad(t *testing.T) {
	for _, bad := range []string{"ring-off", "poller-off"} {
		t.Run(bad, func(t *testing.T) {
			c := newCluster(t, Options{}, bad)
			for _, row := range newsOf {
				if name := row.name; name != "key blocked" && name != "key created after it was refused" && name != "models of a team" && name != "model deleted" {
					continue
				}
				_, wrong := c.spread(row.make(c))
				own := slices.ContainsFunc(wrong, func(line string) bool { return strings.HasPrefix(line, "first/") })
				if len(wrong) == 0 || own != (bad == "ring-off") {
					t.Errorf("%s: the test does not see what it should: %q", row.name, wrong)
				}
				t.Logf("%s: %q", row.name, wrong)
			}
		})
	}
}

// TestBlockedAtOnce: keys are blocked while the connection that listens is cut
// all the time, workers are recycled, and some are killed. It tells how long it
// takes from the answer to the first refusal elsewhere.
func TestBlockedAtOnce(t *testing.T) {
	c := newCluster(t, Options{Args: []string{"--max_requests_before_restart", "3000"}}, "")
	cut := pgtest.Open(t, c.url)
	stopped, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stopped:
				return
			case <-time.After(100 * time.Millisecond):
			}
			if err := cut.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	defer func() { close(stopped); <-done }()
	var late []time.Duration
	rounds, killed := length(12, 400), 0
	for i := range rounds {
		key := c.key(object{})
		if i%2 == 1 {
			table := c.tables[rand.IntN(len(c.tables))]
			if err := syscall.Kill(pick(t, table).pid, syscall.SIGKILL); err == nil {
				killed++
			}
		}
		time.Sleep(rand.N(500 * time.Millisecond)) // at any moment between two polls
		took, wrong := c.spread(news{ask{key: key, model: "mock"}, 200, 401, func() { c.post("POST", "/key/block", object{"key": key}) }})
		for _, line := range wrong {
			t.Errorf("round %d: %s", i, line)
		}
		late = append(late, took...)
	}
	slices.Sort(late)
	recycled := uint64(0)
	for _, a := range c.hosts {
		recycled += a.MustStatus().Recycles.Total
	}
	t.Logf("show 3: %d blocks, %d workers killed, %d replaced; first refusal on other hosts after p50 %v, p99 %v, at most %v",
		rounds, killed, recycled, late[len(late)/2], late[len(late)*99/100], late[len(late)-1])
}

// TestGrace: while a regenerated key is in its grace period both secrets work
// everywhere, afterwards only the new one.
func TestGrace(t *testing.T) {
	c := newCluster(t, Options{}, "")
	key := c.key(object{})
	old := ask{key: key, model: "mock"}
	if err := until(c.seats, old, 200, 2*time.Second); err != nil {
		t.Fatal(err)
	}
	answer := c.post("POST", "/key/regenerate", object{"key": key, "grace_period": "3s"})
	answered := time.Now()
	next, _ := answer["key"].(string)
	if err := until(c.seats, ask{key: next, model: "mock"}, 200, bound); err != nil {
		t.Fatal(err)
	}
	for time.Since(answered) < 2500*time.Millisecond {
		for _, s := range c.seats {
			if got := s.send(old); got != 200 {
				t.Fatalf("%s: the old key in its grace period: %d", s.name, got)
			}
		}
	}
	time.Sleep(time.Until(answered.Add(3 * time.Second)))
	for _, s := range c.seats {
		if got := s.send(old); got != 401 {
			t.Errorf("%s: the old key after its grace period: %d", s.name, got)
		}
		if got := s.send(ask{key: next, model: "mock"}); got != 200 {
			t.Errorf("%s: the new key after the grace period: %d", s.name, got)
		}
	}
}
