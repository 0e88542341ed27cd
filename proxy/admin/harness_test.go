package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/internal/logtest"
	"sluice/proxy/access"
	"sluice/proxy/auth"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// world is one management API over one real database. Callers are "master", or
// the names of keys that the test made.
type world struct {
	*testing.T
	store *store.Store
	api   *API
	log   *logtest.Log // everything that was logged

	mu   sync.Mutex
	keys map[string]string // name → plain key
}

// answer is what a call got.
type answer struct {
	Status  int
	Raw     []byte
	Body    any // decoded; numbers are json.Number
	Headers map[string]string
}

// each runs a test over an empty, migrated database of either kind. A change
// to the API's configuration may be given.
func each(t *testing.T, test func(w *world), with ...func(c *Config)) {
	t.Helper()
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(newWorld(t, store.Config{Postgres: dbtest.Postgres(t)}, with))
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(newWorld(t, store.Config{SQLite: dbtest.SQLite(t)}, with))
	})
}

func newWorld(t *testing.T, db store.Config, with []func(*Config)) *world {
	t.Helper()
	s, err := store.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w := &world{T: t, store: s, log: &logtest.Log{}, keys: map[string]string{}}
	c := Config{Store: s, Log: slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, f := range with {
		f(&c)
	}
	if w.api, err = New(c); err != nil {
		t.Fatal(err)
	}
	// What passwords cost is not what is tested; TestPasswordCost is.
	w.api.passwords.memory, w.api.passwords.passes = 8, 1
	return w
}

// insert writes objects as they are.
func (w *world) insert(objects ...identity.Object) {
	w.Helper()
	err := w.store.Change(context.Background(), store.Actor{User: "test"}, func(tx *store.Tx) error {
		for _, o := range objects {
			if err := tx.Insert(o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
}

// user makes a user of a role.
func (w *world) user(id string, role identity.Role) {
	w.Helper()
	w.insert(&identity.User{ID: id, Role: role.String()})
}

// team makes a team with members, each "id" or "id:admin".
func (w *world) team(id, organization string, members ...string) {
	w.Helper()
	w.insert(&identity.Team{ID: id, Alias: id, OrganizationID: organization})
	for _, m := range members {
		user, role, _ := strings.Cut(m, ":")
		if role == "" {
			role = identity.TeamUser
		}
		w.insert(&identity.Member{TeamID: id, UserID: user, Role: role})
	}
}

// organization makes an organization with members, each "id" or "id:org_admin".
func (w *world) organization(id string, members ...string) {
	w.Helper()
	w.insert(&identity.Organization{ID: id, Alias: id})
	for _, m := range members {
		user, role, _ := strings.Cut(m, ":")
		if role == "" {
			role = identity.RoleInternalUser.String()
		}
		w.insert(&identity.OrganizationMember{OrganizationID: id, UserID: user, Role: role})
	}
}

// key makes a key that calls are made with under the name; edit may be nil. It
// returns the digest.
func (w *world) key(name string, edit func(k *identity.Key)) string {
	w.Helper()
	plain := "sk-" + name + "-for-tests-0123456789"
	k := &identity.Key{Token: digestHex(plain), Name: "sk-...6789", Type: "default"}
	if edit != nil {
		edit(k)
	}
	w.insert(k)
	w.remember(name, plain)
	return k.Token
}

// userKey makes a user of a role and a key that belongs to it.
func (w *world) userKey(name, user string, role identity.Role) string {
	w.Helper()
	w.user(user, role)
	return w.key(name, func(k *identity.Key) { k.UserID = user })
}

// remember gives a plain key a name, for calls with it.
func (w *world) remember(name, plain string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys[name] = plain
}

func (w *world) plain(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.keys[name]
}

func digestHex(plain string) string {
	sum := sha256.Sum256([]byte(plain))
	return hex.EncodeToString(sum[:])
}

// caller is the identity behind a name, as package auth would make it.
func (w *world) caller(name string) *auth.Identity {
	w.Helper()
	if name == "master" {
		who := &auth.Identity{
			Known: true, Master: true, Role: identity.RoleProxyAdmin, Alias: "None", User: identity.DefaultUserID,
		}
		copy(who.KeyHash[:], digestHex("sk-master"))
		return who
	}
	plain := w.plain(name)
	if plain == "" {
		w.Fatalf("no key is called %q", name)
	}
	k, err := store.Get[identity.Key](context.Background(), w.store, digestHex(plain))
	if err != nil {
		w.Fatalf("the key %q: %v", name, err)
	}
	who := &auth.Identity{
		Known: true, Alias: k.Alias, User: k.UserID, Team: k.TeamID, Organization: k.OrganizationID, Key: k,
	}
	copy(who.KeyHash[:], k.Token)
	if k.UserID != "" {
		if u, err := store.Get[identity.User](context.Background(), w.store, k.UserID); err == nil {
			who.Role, _ = identity.RoleNamed(u.Role)
		}
	}
	return who
}

// call makes a call: body is nil, text that is sent as it is, or what
// marshals to the body.
func (w *world) call(as, method, target string, body any) answer {
	w.Helper()
	return w.callAs(w.caller(as), method, target, body)
}

func (w *world) callAs(who *auth.Identity, method, target string, body any) answer {
	w.Helper()
	u, err := url.Parse(target)
	if err != nil {
		w.Fatal(err)
	}
	route, params := routeOf(method, u.EscapedPath())
	if route == nil {
		w.Fatalf("no route for %s %s", method, target)
	}
	var text []byte
	switch b := body.(type) {
	case nil:
	case string:
		text = []byte(b)
	default:
		if text, err = json.Marshal(b); err != nil {
			w.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	reply := w.api.Serve(ctx, &Request{
		Route: route, Params: params, Query: u.Query(), Body: text, Caller: who, ID: "req-1", Remote: "192.0.2.1",
	})
	a := answer{Status: reply.Status, Raw: reply.Body, Headers: map[string]string{}}
	for _, h := range reply.Headers {
		a.Headers[strings.ToLower(string(h.Name))] = string(h.Value)
	}
	d := json.NewDecoder(bytes.NewReader(reply.Body))
	d.UseNumber()
	if err := d.Decode(&a.Body); err != nil && reply.Type == "" && reply.Status != http.StatusNoContent {
		w.Errorf("%s %s answered no JSON: %q", method, target, reply.Body)
	}
	return a
}

// ok makes a call that must succeed and returns its document.
func (w *world) ok(as, method, target string, body any) map[string]any {
	w.Helper()
	a := w.call(as, method, target, body)
	if a.Status != http.StatusOK {
		w.Fatalf("%s %s as %s: %d %s", method, target, as, a.Status, a.Raw)
	}
	doc, _ := a.Body.(map[string]any)
	return doc
}

// refused makes a call that must fail with a status and a text in its answer.
func (w *world) refused(status int, text, as, method, target string, body any) answer {
	w.Helper()
	a := w.call(as, method, target, body)
	if a.Status != status || !strings.Contains(string(a.Raw), text) {
		w.Errorf("%s %s %v as %s: %d %s; want %d with %q", method, target, body, as, a.Status, a.Raw, status, text)
	}
	return a
}

// changes counts the changes there are, to see that a refused call wrote nothing.
func (w *world) changes() int64 {
	w.Helper()
	n, err := w.store.Head(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	return n
}

// theRoutes is the table, made once.
var theRoutes = sync.OnceValue(access.Routes)

// routeOf finds the row of the table for a call: a literal beats a pattern.
func routeOf(method, path string) (*access.Route, map[string]string) {
	var found *access.Route
	var params map[string]string
	for _, r := range theRoutes() {
		if r.Method != method {
			continue
		}
		if r.Path == path {
			return &r, nil
		}
		if p, ok := matchPath(r.Path, path); ok && found == nil {
			found, params = &r, p
		}
	}
	return found, params
}

func matchPath(pattern, path string) (map[string]string, bool) {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	params := map[string]string{}
	for i, w := range want {
		if !strings.HasPrefix(w, "{") {
			if w != got[i] {
				return nil, false
			}
			continue
		}
		v, err := url.PathUnescape(got[i])
		if err != nil {
			return nil, false
		}
		params[strings.Trim(w, "{}")] = v
	}
	return params, true
}

// M is a JSON object.
type M = map[string]any
