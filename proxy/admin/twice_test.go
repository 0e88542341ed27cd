package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/migrate"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// everyCommitTwice has the database refuse the first attempt at every commit as
// one that is to be tried again.
const everyCommitTwice = `CREATE SEQUENCE attempts;
CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF nextval('attempts') % 2 = 1 THEN RAISE EXCEPTION 'try again' USING ERRCODE = '40001'; END IF; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER once AFTER UPDATE ON sluice.change_head DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION once();`

// TestEveryChangeTwice tells the recorded story to two databases. In one of them
// every change is made twice before it stays: the answers must be the same, and
// so must be what is there in the end.
func TestEveryChangeTwice(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../internal/e2e/testdata/management.json")
	if err != nil {
		t.Fatal(err)
	}
	var story []scene
	if err := json.Unmarshal(text, &story); err != nil {
		t.Fatal(err)
	}
	var worlds [2]*world
	for i := range worlds {
		url := pgtest.Database(t)
		source, err := postgres.ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := migrate.Up(t.Context(), migrate.Target{Postgres: source}, migrate.Options{}); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			pgtest.Exec(t, url, everyCommitTwice)
		}
		worlds[i] = newWorld(t, store.Config{Postgres: source}, []func(*Config){withModels(t, &catalog{plain: true})})
	}
	for i, w := range worlds {
		runs := 0
		err := w.store.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
			runs++
			return tx.Insert(&identity.Tag{Name: "first"})
		})
		if err != nil || runs != i+1 {
			t.Fatalf("a change was made %d times: %v", runs, err)
		}
	}
	saved := [2]map[string]string{{}, {}}
	for _, s := range story {
		var got [2]string
		for i, w := range worlds {
			var pairs []string
			for name, value := range saved[i] {
				pairs = append(pairs, "{"+name+"}", value)
			}
			if s.As != "master" && w.plain(s.As) == "" {
				continue
			}
			fill := strings.NewReplacer(pairs...)
			method, target, _ := strings.Cut(s.Do, " ")
			if route, _ := routeOf(method, strings.SplitN(fill.Replace(target), "?", 2)[0]); route == nil || route.Edge {
				continue
			}
			a := w.call(s.As, method, fill.Replace(target), fill.Replace(string(s.Body)))
			doc, _ := a.Body.(map[string]any)
			for name, field := range s.Save {
				saved[i][name], _ = doc[field].(string)
				w.remember(name, saved[i][name])
			}
			got[i] = string(quoted(a.Status)) + " " + alike(a.Raw)
		}
		if got[0] != got[1] {
			t.Errorf("%s as %s: %.1500s\n made twice: %.1500s", s.Name, s.As, got[0], got[1])
		}
	}
	var kinds [2][]string
	for i, w := range worlds {
		kinds[i] = w.kinds(0)
		if n, err := store.Count[identity.Key](context.Background(), w.store); err != nil || n == 0 {
			t.Errorf("%d keys, %v", n, err)
		}
	}
	for i := range kinds {
		for j := range kinds[i] {
			kinds[i][j] = alike([]byte(kinds[i][j]))
		}
	}
	if len(kinds[0]) < 80 || !slices.Equal(kinds[0], kinds[1]) {
		t.Errorf("%d changes, and %d where each is made twice", len(kinds[0]), len(kinds[1]))
	}
}

var random = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{64}|sk-[A-Za-z0-9_.-]{4,}` +
	`|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|\+00:00)|sluice1:[0-9a-f]+:[A-Za-z0-9_-]+`)

// alike is an answer without what is another one each time; lists are in order.
func alike(raw []byte) string {
	raw = random.ReplaceAll(raw, []byte("X"))
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return string(raw)
	}
	return string(quoted(ordered(v)))
}

func ordered(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = ordered(v[name])
		}
	case []any:
		for i := range v {
			v[i] = ordered(v[i])
		}
		slices.SortFunc(v, func(a, b any) int { return bytes.Compare(quoted(a), quoted(b)) })
	}
	return v
}
