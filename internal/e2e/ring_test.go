//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
	"sluice/supervisor/fleet"
)

const ringConfig = `
model_list:
  - model_name: mock
    litellm_params: {model: openai/gpt-4o, mock_response: hi}
router_settings: {num_retries: 0}
general_settings: {store_model_in_db: true}
`

// promotedWithin is how long it may take from the last host that knows a key
// until it seals: hosts tell what they know at once, and every 20 s.
const promotedWithin = 30 * time.Second

// ringSecret is the secret of a key, by its id.
func ringSecret(id string) string { return "secret-of-" + id + "-Kq7vTz2mWx9LrB4nYd6HsJ8c" }

// ringFile writes a keyring file, by rename; the first id is to seal.
func ringFile(t *testing.T, path string, ids ...string) {
	t.Helper()
	var text strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&text, "%s:%s\n", id, ringSecret(id))
	}
	if err := os.WriteFile(path+".new", []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// rotation is hosts on one database whose keys are changed.
type rotation struct {
	*traffic
	t     *testing.T
	db    string // URL
	sql   *pgtest.Session
	files []string // keyring files of the hosts
}

// newRotation boots two hosts, stores what is sealed, and starts the clients.
// slow is how many credentials are stored besides: it takes 5 ms to seal one of
// them anew, so that there is a middle.
func newRotation(t *testing.T, o Options, slow int, env func(host int) map[string]string) *rotation {
	t.Helper()
	r := &rotation{t: t, db: pgtest.Database(t)}
	r.sql = pgtest.Open(t, r.db)
	var hosts []*Appliance
	for h := range 2 {
		host := o
		host.Config, host.Env = ringConfig, map[string]string{"DATABASE_URL": r.db, "LITELLM_LOG": "INFO", "SLUICE_PRESTOP_DELAY": "2"}
		for name, value := range o.Env {
			host.Env[name] = value
		}
		for name, value := range env(h) {
			host.Env[name] = value
		}
		host.Args = append(slices.Clone(o.Args), "--max_requests_before_restart", "4000")
		a := New(t, host)
		a.Start()
		a.allReady()
		hosts = append(hosts, a)
		r.files = append(r.files, host.Env["SLUICE_KEYRING_FILE"])
	}
	r.traffic = newTraffic(t, hosts, newKeyedProvider(t))
	r.fill(slow)
	return r
}

// fill stores models and credentials and makes keys for the clients.
func (r *rotation) fill(slow int) {
	r.t.Helper()
	a := r.hosts[0]
	post := func(path string, body object) {
		r.t.Helper()
		if status, text := r.ask("POST", a.URL()+path, a.Key, jsonText(body)); status != http.StatusOK {
			r.t.Fatalf("%s: %d %s\n%s", path, status, text, a.Tail(30))
		}
	}
	for i := range 8 {
		name := fmt.Sprint("model-", i)
		post("/model/new", r.modelBody(name))
		r.models = append(r.models, name)
	}
	for h := range r.hosts {
		name := fmt.Sprint("cred-", h)
		post("/credentials", object{"credential_name": name, "credential_info": object{}, "credential_values": object{"api_key": "sk-of-" + name, "api_base": r.p.base(name)}})
		post("/model/new", object{"model_name": name, "model_info": object{"id": name}, "litellm_params": object{"model": "openai/x", "litellm_credential_name": name}})
		r.models = append(r.models, name)
	}
	for range 10 {
		r.keys = append(r.keys, a.generate(`{}`))
	}
	var many sync.WaitGroup
	for n := range 8 {
		many.Go(func() {
			for i := n; i < slow; i += 8 {
				name := fmt.Sprint("slow-", i)
				if status, text := r.ask("POST", a.URL()+"/credentials", a.Key, jsonText(object{
					"credential_name": name, "credential_info": object{}, "credential_values": object{"api_key": "sk-of-" + name},
				})); status != http.StatusOK {
					r.t.Errorf("%s: %d %s", name, status, text)
				}
			}
		})
	}
	many.Wait()
	r.must(`CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.005); RETURN NEW; END $$;
		CREATE TRIGGER slow BEFORE UPDATE ON sluice.credentials FOR EACH ROW
		WHEN (OLD.sealed_with <> NEW.sealed_with AND NEW.credential_name LIKE 'slow-%') EXECUTE FUNCTION public.slow()`)
	for _, host := range r.hosts {
		for _, model := range r.models {
			host.soon("a stored model", r.keys[0], model, http.StatusOK, 5*time.Second)
		}
	}
}

func (r *rotation) must(sql string) {
	r.t.Helper()
	if err := r.sql.Exec(sql); err != nil {
		r.t.Fatal(err)
	}
}

// text is the one value of a query on the hosts' database, "" for none.
func (r *rotation) text(query string) string { r.t.Helper(); return oneText(r.t, r.sql, query) }

// sealing is the id of the key that is in force.
func (r *rotation) sealing() string {
	return r.text("SELECT value FROM sluice.meta WHERE name = 'sealing_key'")
}

// knownBy counts the living hosts that know a key.
func (r *rotation) knownBy(id string) int {
	n, _ := strconv.Atoi(r.text("SELECT count(*) FROM sluice.hosts WHERE sealing_keys::jsonb ? '" + id + "' AND seen_at > now() - interval '60 s'"))
	return n
}

// apart gives one host a key that the other one does not know, as the first of
// its ring, and returns what is wrong while it is so.
func (r *rotation) apart(id, old string) (wrong []string) {
	r.t.Helper()
	ringFile(r.t, r.files[0], id, old)
	r.hosts[0].reload(true)
	// Without the question to the other host it would be in force by now.
	end := time.Now().Add(length(13*time.Second, 40*time.Second))
	for time.Now().Before(end) && len(wrong) == 0 {
		if got := r.sealing(); got == id {
			wrong = append(wrong, fmt.Sprintf("key %q seals while a host does not know it", id))
		}
		if rows := sealedRows(r.t, r.sql); rows[id] > 0 {
			wrong = append(wrong, fmt.Sprintf("%d rows are sealed with key %q that a host does not know", rows[id], id))
		}
		time.Sleep(100 * time.Millisecond)
	}
	if n := r.knownBy(id); n != 1 {
		wrong = append(wrong, fmt.Sprintf("%d hosts say that they know key %q", n, id))
	}
	// What is made on the one is served by the other.
	name := "apart-" + id
	if status, text := r.ask("POST", r.hosts[0].URL()+"/model/new", r.hosts[0].Key, jsonText(r.modelBody(name))); status != http.StatusOK {
		wrong = append(wrong, fmt.Sprintf("a model made on the host that knows both: %d %s", status, text))
	}
	var bad []string
	for range 20 {
		if bad = r.every(r.hosts[1], []string{name}); len(bad) == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, text := range bad {
		wrong = append(wrong, "on the host that does not know the new key: "+text)
	}
	return wrong
}

// together gives the other host the key too, and waits until it seals.
func (r *rotation) together(id, old string) {
	r.t.Helper()
	ringFile(r.t, r.files[1], id, old)
	r.hosts[1].reload(true)
	took := within(r.t, promotedWithin, "key "+id+" seals", r.hosts, func() bool { return r.sealing() == id })
	r.t.Logf("show 1: key %q seals %v after the last host knows it", id, took.Round(100*time.Millisecond))
}

// resealed waits until no row names a key any more.
func (r *rotation) resealed(old string) {
	r.t.Helper()
	before := sealedRows(r.t, r.sql)
	took := within(r.t, length(2*time.Minute, 6*time.Minute), "no row is sealed with key "+old, r.hosts, func() bool { return sealedRows(r.t, r.sql)[old] == 0 })
	r.t.Logf("show 1: %v rows before, %v sealed anew after %v", before, sealedRows(r.t, r.sql), took.Round(100*time.Millisecond))
}

// copied makes a copy of the database as it is now, as a backup would.
func (r *rotation) copied() string {
	r.t.Helper()
	text := dumped(r.t, r.db)
	to := pgtest.Database(r.t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("psql: %v: %.2000s", err, out)
	}
	return to
}

// opens shows that a copy of the middle opens with the ring of that time and
// that neither a start nor a reload does without a key that rows name.
func (r *rotation) opens(db, id, old string) {
	r.t.Helper()
	sql := pgtest.Open(r.t, db)
	rows := sealedRows(r.t, sql)
	if rows[id] == 0 || rows[old] == 0 {
		r.t.Fatalf("the copy is not of the middle: %v", rows)
	}
	if err := sql.Exec(`CREATE OR REPLACE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$`); err != nil {
		r.t.Fatal(err)
	}
	file := filepath.Join(r.t.TempDir(), "ring")
	a := New(r.t, Options{Config: ringConfig, Env: map[string]string{"DATABASE_URL": db, "SLUICE_KEYRING_FILE": file}})
	ringFile(r.t, file, id)
	code, said := a.command("supervisor", a.args()...)
	named := 0
	for line := range strings.Lines(said) {
		if strings.Contains(line, old) && strings.Contains(line, strconv.Itoa(rows[old])) {
			named++
		}
	}
	if code != fleet.ExitConfig || named == 0 {
		r.t.Errorf("started without key %q, which %d rows name: exit %d\n%s", old, rows[old], code, said)
	}
	ringFile(r.t, file, id, old)
	a.Start()
	a.allReady()
	if bad := r.every(a, r.models); len(bad) > 0 {
		r.t.Errorf("a copy of the middle with the ring of that time: %v", bad)
	}
	ringFile(r.t, file, id)
	a.reload(false)
	if bad := r.every(a, r.models); len(bad) > 0 {
		r.t.Errorf("after a reload that was refused: %v", bad)
	}
	if code, said := a.command("migrator", "secrets", "retire", old, "--state_dir", a.Dir); code == 0 {
		r.t.Errorf("key %q was retired while rows name it: %s", old, said)
	}
	if got := sealedRows(r.t, sql); got[old] == 0 {
		r.t.Errorf("of %d rows none is left: %v", rows[old], got)
	}
	if err := sql.Exec("DROP TRIGGER slow ON sluice.credentials"); err != nil {
		r.t.Fatal(err)
	}
	ringFile(r.t, file, id, old)
	a.reload(true)
	within(r.t, length(time.Minute, 6*time.Minute), "the copy is sealed anew", []*Appliance{a}, func() bool { return sealedRows(r.t, sql)[old] == 0 })
	ringFile(r.t, file, id)
	a.reload(true)
	if code := a.Stop(); code != fleet.ExitOK {
		r.t.Errorf("stopped with %d", code)
	}
	r.t.Logf("show 1: a copy of the middle, %v, opens with both keys; the old one cannot go before its rows are sealed anew", rows)
}

// anew stops a host and starts it again while the other one serves.
func (r *rotation) anew(h int, master string, env map[string]string) {
	r.t.Helper()
	a := r.hosts[h]
	r.calm[h].Lock()
	defer r.calm[h].Unlock()
	if code := a.Stop(); code != fleet.ExitOK {
		r.t.Errorf("host %d stopped with %d", h, code)
	}
	a.Key = master
	for name, value := range env {
		a.opts.Env[name] = value
	}
	a.Start()
	a.allReady()
	time.Sleep(time.Second) // the balancer has to see it
}

// TestRingRotation changes the key that seals at full load: nothing fails, a
// host never meets what it cannot open, a copy of the middle opens with the ring
// of that time, and the old key goes only when no row names it.
func TestRingRotation(t *testing.T) {
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	for _, file := range files {
		ringFile(t, file, "one")
	}
	r := newRotation(t, Options{}, length(400, 6000), func(h int) map[string]string {
		return map[string]string{"SLUICE_KEYRING_FILE": files[h]}
	})
	if got := r.sealing(); got != "one" {
		t.Fatalf("key %q seals, want one", got)
	}
	r.start()
	for _, text := range r.apart("two", "one") {
		t.Error(text)
	}
	r.together("two", "one")
	within(t, length(10*time.Second, 2*time.Minute), "something is sealed anew", r.hosts, func() bool {
		rows := sealedRows(t, r.sql)
		return rows["two"] > length(40, 600) && rows["one"] > 0
	})
	middle := r.copied()
	r.resealed("one")
	r.opens(middle, "two", "one")
	for h := range r.hosts {
		ringFile(t, r.files[h], "two")
		r.hosts[h].reload(true)
	}
	r.anew(0, MasterKey, nil)
	r.anew(1, MasterKey, nil)
	r.stop()
	for _, a := range r.hosts {
		if bad := r.every(a, append(r.models, "apart-two")); len(bad) > 0 {
			t.Errorf("with the new key alone: %v", bad)
		}
	}
	r.lastWritten()
	r.none("ring rotation")
	r.hosts[0].audited(t)
	if code, said := r.hosts[0].command("migrator", "secrets", "status", "--state_dir", r.hosts[0].Dir); code != 0 || !strings.Contains(said, "two") || strings.Contains(said, "secret-of-") {
		t.Errorf("migrator secrets status: exit %d\n%s", code, said)
	}
	for _, a := range r.hosts {
		if strings.Contains(a.Log(), "Kq7vTz2mWx9LrB4nYd6HsJ8c") {
			t.Error("a log holds a secret of the ring")
		}
	}
}

// lastWritten wants both credentials that were changed all the time to be as
// the last answer said, on both hosts: the other one may take a second to see it.
func (r *rotation) lastWritten() {
	r.t.Helper()
	for name, n := range r.written {
		for h, a := range r.hosts {
			want := fmt.Sprintf(`"key-%d"`, n)
			within(r.t, 3*time.Second, fmt.Sprintf("%s is %s on host %d", name, want, h), []*Appliance{a}, func() bool {
				status, text := r.ask("POST", a.URL()+"/v1/chat/completions", a.Key, `{"model":"`+name+`","messages":[{"role":"user","content":"x"}]}`)
				return status == http.StatusOK && strings.Contains(text, want)
			})
		}
	}
}

// TestRingRotationKnownBad: the same finds a host that puts a key in force
// without asking the others.
func TestRingRotationKnownBad(t *testing.T) {
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	for _, file := range files {
		ringFile(t, file, "one")
	}
	r := newRotation(t, Options{Variant: Bad, Env: map[string]string{"SLUICE_TEST_BAD": "eager-key"}}, 0, func(h int) map[string]string {
		return map[string]string{"SLUICE_KEYRING_FILE": files[h]}
	})
	r.start()
	wrong := r.apart("two", "one")
	r.stop()
	t.Logf("show 1, known bad eager-key: %q; %d calls failed, such as %q", wrong, r.failures.Load(), r.failed)
	if len(wrong) == 0 {
		t.Error("eager-key: nothing was found: the test does not see what it should")
	}
	served := slices.ContainsFunc(wrong, func(text string) bool { return strings.Contains(text, "on the host that does not know") })
	if !served && r.failures.Load() == 0 {
		t.Error("eager-key: nobody met what he cannot open: the test does not see what it should")
	}
}

// TestMasterKeyChange changes the master key of a database whose secrets are
// sealed with it, host by host at full load.
func TestMasterKeyChange(t *testing.T) {
	const next = "sk-next-master-pF3kW8vQ2xZ7nB5mT9rL"
	r := newRotation(t, Options{}, 0, func(int) map[string]string { return nil })
	old := r.sealing()
	r.start()
	for h := range r.hosts {
		r.anew(h, next, map[string]string{"SLUICE_OLD_MASTER_KEY": MasterKey})
		if h == 0 && r.sealing() != old {
			t.Error("the new master key seals while a host does not know it")
		}
	}
	took := within(t, promotedWithin, "the new master key seals", r.hosts, func() bool { return r.sealing() != old })
	t.Logf("show 1: the new master key seals %v after the last host was started with it", took.Round(100*time.Millisecond))
	r.resealed(old)
	for h := range r.hosts {
		r.anew(h, next, map[string]string{"SLUICE_OLD_MASTER_KEY": ""})
	}
	r.stop()
	for _, a := range r.hosts {
		if bad := r.every(a, r.models); len(bad) > 0 {
			t.Errorf("with the new master key alone: %v", bad)
		}
	}
	r.lastWritten()
	r.none("master key change")
	r.hosts[0].audited(t)
}
