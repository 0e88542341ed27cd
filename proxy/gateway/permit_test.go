package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/proxy/access"
	"sluice/proxy/auth"
	"sluice/proxy/identity"
	"sluice/proxy/route"
	"sluice/supervisor/fleet"
)

// keyring is a database of keys.
type keyring struct {
	keys []*identity.Key
	away atomic.Bool

	spends identity.Spenders
}

func (k *keyring) Resolve(_ context.Context, digests []string) (*identity.Resolved, error) {
	if k.away.Load() {
		return nil, errors.New("connection refused")
	}
	out := &identity.Resolved{Teams: []*identity.Team{{ID: "t1", Alias: "eng"}}}
	for _, d := range digests {
		for _, key := range k.keys {
			if key.Token == d {
				out.Keys = append(out.Keys, key)
			}
		}
	}
	return out, nil
}

func (k *keyring) Reached() {}

func (k *keyring) BlockedCustomers(context.Context) ([]string, error) {
	return []string{"c-blocked", `c"quoted`}, nil
}

func (k *keyring) Spenders(context.Context, identity.SpendersQuery) (*identity.Spenders, error) {
	return &k.spends, nil
}

func (k *keyring) TouchKeys(context.Context, map[string]time.Time) error { return nil }

func (k *keyring) add(text string, set func(*identity.Key)) {
	sum := sha256.Sum256([]byte(text))
	key := &identity.Key{Token: hex.EncodeToString(sum[:]), Type: "default"}
	set(key)
	k.keys = append(k.keys, key)
}

func directory(t testing.TB, src auth.Source) *auth.Directory {
	t.Helper()
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	table, err := fleet.NewTable(fd, 1)
	if err != nil {
		t.Fatal(err)
	}
	d, err := auth.NewDirectory(auth.DirectoryConfig{Source: src, Table: table, Wait: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(); _ = table.Close(); _ = syscall.Close(fd) })
	return d
}

// withKeys is a bench whose callers have keys of a database.
func withKeys(t testing.TB, ring *keyring, set func(*auth.Config), models ...string) *bench {
	t.Helper()
	c := auth.Config{MasterKey: master, Directory: directory(t, ring)}
	if set != nil {
		set(&c)
	}
	return newBench(t, func(g *Config) {
		g.Keys = auth.New(c)
		g.Aliases = map[string]route.Alias{"router-alias": {Model: "allowed"}}
		for i := range g.Models {
			if g.Models[i].Name == "grouped" {
				g.Models[i].AccessGroups = []string{"beta"}
			}
		}
	}, models...)
}

var chatRoute = &access.Route{Method: "POST", Path: "/v1/chat/completions", Group: access.GroupLLM}

// call is one exchange with a key, up to its settlement.
func (b *bench) call(t testing.TB, key, body string, set func(*Exchange)) (answer string, status int, typ string) {
	t.Helper()
	x := &Exchange{}
	x.Reset()
	copy(x.ID[:], "01900000-0000-7000-8000-000000000000")
	x.CallID, x.Route, x.Dialect, x.Start, x.Access = x.ID[:], chatRoute.Path, speaker{}, b.now(), chatRoute
	if set != nil {
		set(x)
	}
	defer x.Settle()
	err := b.Identify(x, []byte(key))
	if err == nil {
		x.Body = []byte(body)
		decode(t, x)
		a, e := b.Do(x)
		if err = e; err == nil {
			var out strings.Builder
			for _, piece := range a.Body {
				out.Write(piece)
			}
			return out.String(), 200, ""
		}
	}
	x.Err = err
	return "", err.HTTPStatus(), err.TypeName()
}

func TestVirtualKey(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-of-a-team", func(k *identity.Key) {
		k.Alias, k.TeamID, k.Models, k.Aliases = "mine", "t1", []string{"allowed", "beta"}, map[string]string{"short": "allowed", "far": "other"}
	})
	ring.add("sk-management", func(k *identity.Key) { k.Type = "management" })
	ring.add("sk-everything", func(*identity.Key) {})
	b := withKeys(t, ring, nil, "allowed=ok", "other=ok", "grouped=ok")
	for _, c := range []struct {
		name, key, model, user string
		status                 int
		typ                    string
	}{
		{"listed", "sk-of-a-team", "allowed", "u", 200, ""},
		{"alias of the key", "sk-of-a-team", "short", "u", 200, ""},
		{"alias of the key for what it may not use", "sk-of-a-team", "far", "u", 403, "key_model_access_denied"},
		{"alias of the router", "sk-of-a-team", "router-alias", "u", 200, ""},
		{"by an access group", "sk-of-a-team", "grouped", "u", 200, ""},
		{"not listed", "sk-of-a-team", "other", "u", 403, "key_model_access_denied"},
		{"nobody serves it, and it is not listed", "sk-of-a-team", "nothing", "u", 403, "key_model_access_denied"},
		{"nobody serves it", "sk-everything", "nothing", "u", 400, "invalid_request_error"},
		{"no model calls", "sk-management", "allowed", "u", 403, "permission_error"},
		{"wrong key", "sk-nobody-has-it", "allowed", "u", 401, "token_not_found_in_db"},
		{"blocked customer", "sk-everything", "allowed", "c-blocked", 401, "auth_error"},
		{"blocked customer, escaped", "sk-everything", "allowed", `c\"quoted`, 401, "auth_error"},
		{"the master key's customer is blocked too", master, "allowed", "c-blocked", 401, "auth_error"},
		{"unknown customer", "sk-everything", "allowed", "nobody-knows", 200, ""},
	} {
		answer, status, typ := b.call(t, c.key, request(c.model, c.user, false, false), nil)
		if status != c.status || typ != c.typ {
			t.Errorf("%s: %d %s, want %d %s", c.name, status, typ, c.status, c.typ)
		}
		if status == 200 && !strings.Contains(answer, `"model":"`+c.model+`"`) {
			t.Errorf("%s: the answer does not name the model that was asked for: %s", c.name, answer)
		}
	}
	if _, status, _ := b.call(t, "sk-everything", request("allowed", "u", false, false), func(x *Exchange) { x.EndUser = []byte("c-blocked") }); status != 401 {
		t.Errorf("a header names a blocked customer: %d", status)
	}
	x := &Exchange{}
	x.Reset()
	if err := b.Identify(x, []byte("sk-of-a-team")); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, m := range b.ModelsOf(x) {
		seen = append(seen, m.ID)
	}
	if got := strings.Join(seen, " "); got != "allowed grouped router-alias" {
		t.Errorf("models of the key: %s", got)
	}
	log := strings.Join(b.lines.text, "\n")
	if !strings.Contains(log, "key_hash="+ring.keys[0].Token) || !strings.Contains(log, "key_alias=mine") || !strings.Contains(log, "team_alias=eng") {
		t.Errorf("log: %s", log)
	}
	if strings.Contains(log, "sk-of") || strings.Contains(log, "sk-nobody") {
		t.Errorf("a key is in the log: %s", log)
	}
	var out strings.Builder
	b.metrics.Write(&out)
	want := `hashed_api_key="` + ring.keys[0].Token + `",api_key_alias="mine",team="t1",team_alias="eng"`
	if !strings.Contains(out.String(), "litellm_requests_metric_total{end_user=\"None\","+want) {
		t.Errorf("metrics do not name the caller: %s", out.String())
	}
}

func TestKeysThatNobodyCanCheck(t *testing.T) {
	ring := &keyring{}
	ring.away.Store(true)
	b := withKeys(t, ring, func(c *auth.Config) {
		c.AllowUnavailable, c.UnavailableRPM, c.UnavailableModels = true, 3, []string{"allowed"}
	}, "allowed=ok", "other=ok")
	served := 0
	for range 6 {
		_, status, typ := b.call(t, "sk-long-enough-a-key", request("allowed", "", false, false), nil)
		switch {
		case status == 200:
			served++
		case status != 503 || typ != "db_unavailable":
			t.Errorf("%d %s", status, typ)
		}
	}
	if served != 3 && served != 6 { // 6: a minute ended meanwhile
		t.Errorf("%d were served, 3 a minute are allowed", served)
	}
	b = withKeys(t, ring, func(c *auth.Config) {
		c.AllowUnavailable, c.UnavailableRPM, c.UnavailableModels = true, 3, []string{"allowed"}
	}, "allowed=ok", "other=ok")
	if _, status, typ := b.call(t, "sk-long-enough-a-key", request("other", "", false, false), nil); status != 403 || typ != "unavailable_model_access_denied" {
		t.Errorf("another model: %d %s", status, typ)
	}
	var out strings.Builder
	b.metrics.Write(&out)
	if sum := sha256.Sum256([]byte("sk-long-enough-a-key")); strings.Contains(out.String(), hex.EncodeToString(sum[:])) {
		t.Error("the digest of a stranger's key is a label")
	}
}

// However many keys call, the number of label sets is bounded.
func TestLabelsOfCallersAreBounded(t *testing.T) {
	m := NewMetrics(nil)
	x := &Exchange{}
	for i := range 3 * maxCallers {
		x.Caller = auth.Identity{Known: true, Key: &identity.Key{Token: strings.Repeat("k", i%7) + string(rune('a'+i%26)) + strings.Repeat("x", i/182)}}
		w := m.failing(x)
		_ = w
	}
	if len(m.callers) > maxCallers {
		t.Errorf("%d callers", len(m.callers))
	}
	d := &route.Deployment{ID: "d", Group: "g"}
	x.Deployment = d
	for i := range maxSeries + 100 {
		x.Caller = auth.Identity{Known: true, User: "u", Key: &identity.Key{Token: hex.EncodeToString([]byte{byte(i >> 8), byte(i)})}}
		m.of(x)
	}
	if n := len(*m.series.Load()); n > maxSeries+1 {
		t.Errorf("%d label sets", n)
	}
	var out strings.Builder
	m.Write(&out)
	if n := out.Len(); n > 10<<20 {
		t.Errorf("a scrape is %d bytes long", n)
	}
	// Those who came first have histograms of their own; the others share one
	// for each deployment, and what has no deployment of its own one more.
	if n := strings.Count(out.String(), "litellm_request_total_latency_metric_count"); n != maxTimed+2 {
		t.Errorf("%d histograms, for %d callers and the others", n, maxTimed)
	}
}
