//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
	"sluice/internal/postgres/pgtest"
	"sluice/internal/redistest"
)

const observedConfig = `model_list:
  - model_name: whole
    litellm_params: {model: openai/%[1]s, api_key: x, api_base: %[2]q, rpm: 100000, tpm: 100000000,
      input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
  - model_name: broken
    litellm_params: {model: openai/%[1]s, api_key: x, api_base: %[3]q}
router_settings: {num_retries: 0, %[4]s}
`

// observed boots an appliance with everything on, calls it in all ways that
// metrics tell apart, and returns it with its database and what it exposes.
func observed(t *testing.T) (a *Appliance, db *pgtest.Server, scrape string) {
	t.Helper()
	p := Provider(t)
	db = pgtest.New(t)
	a = boot(t, Options{
		Config: fmt.Sprintf(observedConfig, fakeprovider.Model, p.URL(""), p.URL("s500"), redisAt(redistest.New(t))),
		Env:    map[string]string{"DATABASE_URL": db.Database(t), "LITELLM_SALT_KEY": "sk-salt-of-the-tests", "LITELLM_LOG": "WARNING"},
	})
	a.allReady()
	a.WaitHealth(t, "/health/readiness", `"redis":"connected"`)
	team, _ := a.manage("/team/new", `{"team_alias":"observed","max_budget":1000,"budget_duration":"30d"}`)["team_id"].(string)
	user, _ := a.manage("/user/new", `{"max_budget":100,"budget_duration":"7d"}`)["user_id"].(string)
	key := a.generate(fmt.Sprintf(
		`{"team_id":%q,"user_id":%q,"key_alias":"observer","max_budget":10,"budget_duration":"1d","rpm_limit":100000,"model_rpm_limit":{"whole":90000},"model_tpm_limit":{"whole":90000000}}`,
		team, user))
	alone := a.generate(fmt.Sprintf(`{"user_id":%q,"max_budget":10}`, user)) // the budget of its user counts
	head := func(key string) map[string]string {
		return map[string]string{"Authorization": "Bearer " + key, "Content-Type": "application/json"}
	}
	const say = `"messages":[{"role":"user","content":"hi"}]`
	for range 6 {
		for _, c := range []struct {
			key, body string
			status    int
		}{
			{key, `{"model":"whole",` + say + `}`, 200},
			{alone, `{"model":"whole",` + say + `}`, 200},
			{key, `{"model":"whole","stream":true,` + say + `}`, 200},
			{key, `{"model":"broken",` + say + `}`, 500},
			{"sk-nobody-has-this-one", `{"model":"whole",` + say + `}`, 401},
		} {
			r, err := a.Do(http.MethodPost, "/v1/chat/completions", c.body, head(c.key))
			if err != nil || r.Status != c.status {
				t.Fatalf("%s: %v %s, want %d", c.body, err, r.text(), c.status)
			}
		}
	}
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		r, err := a.Health("/metrics")
		if err == nil {
			scrape = string(r.Body)
		}
		if strings.Contains(scrape, "sluice_ledger_rows_inserted_total") && !strings.Contains(scrape, "sluice_ledger_rows_inserted_total 0\n") &&
			strings.Contains(scrape, "litellm_remaining_user_budget_metric{") {
			return a, db, scrape
		}
		if time.Now().After(deadline) {
			t.Fatalf("the metrics do not show what was done:\n%.20000s", scrape)
		}
	}
}

// exposed are the names in a scrape, those of histograms without their endings too.
func exposed(scrape string) map[string]bool {
	names := map[string]bool{}
	for series := range samples(scrape) {
		name, _, _ := strings.Cut(series, "{")
		names[name] = true
	}
	return names
}

// TestObservability: what the box brings to look at itself is true. Every metric
// that dashboard and alert rules name is in a scrape, every alert has its page,
// whose commands work here, and one is seen to fire.
func TestObservability(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	a, db, scrape := observed(t)
	dir := filepath.Join(root, "image", "observability")
	rules := filepath.Join(dir, "alerts.yml")
	promtool(t, dir, "check", "rules", rules)
	promtool(t, dir, "test", "rules", filepath.Join(dir, "alerts_test.yml"))

	prom := startPrometheus(t, a, rules)
	alerts := prom.rules(t)
	board := dashboard(t, filepath.Join(dir, "dashboard.json"))
	names := exposed(scrape)
	asked := 0
	for where, text := range map[string]string{"alerts.yml": alerts.queries(), "dashboard.json": strings.Join(board, "\n")} {
		for _, name := range metricNames(text) {
			asked++
			if why, late := lateMetrics[name]; !names[name] && !late {
				t.Errorf("%s names %s, which is not in a scrape of an appliance under load", where, name)
			} else if names[name] && late {
				t.Errorf("%s is in the scrape: %q is no reason any more", name, why)
			}
		}
	}
	t.Logf("observability: %d alerts, %d queries of the dashboard, %d metrics named by them, %d in the scrape", len(alerts), len(board), asked, len(names))
	checkQueries(t, board)
	pages(t, filepath.Join(root, "docs", "runbooks"), alerts)
	runbookCommands(t, filepath.Join(root, "docs", "runbooks"), a)

	if firing := prom.firing(t); len(firing) > 0 {
		t.Errorf("on a healthy appliance these fire: %v", firing)
	}
	db.Stop(t)
	began := time.Now()
	prom.await(t, "SluiceDatabaseDown", 30*time.Second)
	t.Logf("observability: SluiceDatabaseDown fires %v after the database stopped (without its minute of patience)", time.Since(began).Round(100*time.Millisecond))
	db.Start(t)
}

// lateMetrics are not there minutes after a start, and why.
var lateMetrics = map[string]string{
	"up": "Prometheus makes it",
	"sluice_tls_certificate_expiry_timestamp_seconds": "there is no TLS here",

	"sluice_spend_drift_nanodollars": "sums are first compared ten minutes after a start",
}

var metricName = regexp.MustCompile(`\b(up|(?:sluice|litellm|process|go)_[a-z0-9_]+)\b`)

// metricNames finds the metrics in queries, without what is in quotes.
func metricNames(queries string) []string {
	found := map[string]bool{}
	for _, name := range metricName.FindAllString(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(queries, ""), -1) {
		if name != "litellm_model_name" { // a label
			found[name] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("promtool", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("promtool %s (.ci/needs prometheus installs it): %v\n%s", strings.Join(args, " "), err, out)
	}
}

// dashboard returns the queries of a dashboard, its variables filled in.
func dashboard(t *testing.T, file string) (queries []string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Title  string
		UID    string
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &board); err != nil || board.Title == "" || board.UID == "" {
		t.Fatalf("dashboard: %v, title %q", err, board.Title)
	}
	ids, places := map[int]bool{}, map[[2]int]bool{}
	for _, p := range board.Panels {
		at := [2]int{p.GridPos.X, p.GridPos.Y}
		if ids[p.ID] || places[at] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %d %q: taken id or place, no title or no query", p.ID, p.Title)
		}
		ids[p.ID], places[at] = true, true
		for _, q := range p.Targets {
			queries = append(queries, strings.NewReplacer("$__rate_interval", "5m", "$job", ".+", "$instance", ".+").Replace(q.Expr))
		}
	}
	return queries
}

// checkQueries has promtool parse queries, as rules.
func checkQueries(t *testing.T, queries []string) {
	t.Helper()
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var all []rule
	for i, q := range queries {
		all = append(all, rule{fmt.Sprintf("q:%d", i), q})
	}
	b, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "board", "rules": all}}}) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "board.yml")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, filepath.Dir(file), "check", "rules", file)
}

// pages compares the alerts with the runbooks, both ways.
func pages(t *testing.T, dir string, alerts alertRules) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "*.md"))
	there := map[string]bool{}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".md"); name != "README" {
			there[name] = true
		}
	}
	for _, r := range alerts {
		severity, summary, page := r.Labels["severity"], r.Annotations["summary"], r.Annotations["runbook"]
		if !slices.Contains([]string{"critical", "warning", "info"}, severity) || summary == "" || page != "docs/runbooks/"+r.Name+".md" {
			t.Errorf("%s: severity %q, summary %q, runbook %q", r.Name, severity, summary, page)
		}
		b, err := os.ReadFile(filepath.Join(dir, r.Name+".md"))
		if err != nil || !strings.HasPrefix(string(b), "# "+r.Name+"\n") || !strings.Contains(string(b), "\n## Do\n") {
			t.Errorf("%s has no page of its name: %v", r.Name, err)
		}
		delete(there, r.Name)
	}
	if len(there) > 0 {
		t.Errorf("runbooks without an alert: %v", slices.Sorted(maps.Keys(there)))
	}
}

var runnable = regexp.MustCompile("(?s)```sh runnable\n(.*?)```")

// runbookCommands runs the blocks that operators are told to run, with our
// ports and directories in place of those of a package. Each has something to
// say and ends well.
func runbookCommands(t *testing.T, dir string, a *Appliance) {
	t.Helper()
	ours := strings.NewReplacer("http://127.0.0.1:4001", a.HealthURL(), "/var/lib/sluice", a.Dir, "/etc/sluice/config.yaml", a.ConfigFile)
	files, _ := filepath.Glob(filepath.Join(dir, "Sluice*.md"))
	blocks := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		found := runnable.FindAllStringSubmatch(string(b), -1)
		if len(found) == 0 {
			t.Errorf("%s tells nothing to run", filepath.Base(f))
		}
		for _, block := range found {
			for command := range strings.Lines(block[1]) {
				blocks++
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", ours.Replace(command))
				cmd.Env = append(a.environ(), "PATH="+a.Bin+":"+os.Getenv("PATH"))
				out, err := cmd.CombinedOutput()
				cancel()
				if err != nil || len(bytes.TrimSpace(out)) == 0 {
					t.Errorf("%s: %s: %v\n%.1000s", filepath.Base(f), strings.TrimSpace(command), err, out)
				}
			}
		}
	}
	t.Logf("observability: %d commands of %d runbooks work", blocks, len(files))
}

// alertRules are alert rules as Prometheus has read them.
type alertRules []struct {
	Name, Query         string
	Labels, Annotations map[string]string
}

func (r alertRules) queries() (text string) {
	for _, rule := range r {
		text += rule.Query + "\n"
	}
	return text
}

// prometheus is a running one that scrapes an appliance each second.
type prometheus struct{ url string }

var waits = regexp.MustCompile(`(?m)^(\s+for:) .*$`)

// startPrometheus runs the rules with patience of a second.
func startPrometheus(t *testing.T, a *Appliance, rules string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "alerts.yml"), waits.ReplaceAll(text, []byte("$1 1s")), 0o600); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [alerts.yml]\n"+
		"scrape_configs: [{job_name: sluice, static_configs: [{targets: ['127.0.0.1:%d']}]}]\n", a.HealthPort)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &prometheus{url: "http://" + local(freePort(t))}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+strings.TrimPrefix(p.url, "http://"), "--log.level=warn")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatalf("prometheus is needed (.ci/needs prometheus installs it): %v", err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if p.ask("/api/v1/query?query=sluice_ready", nil) == nil && len(p.vector("sluice_ready")) > 0 {
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("prometheus does not scrape: %s", said.String())
		}
	}
}

func (p *prometheus) ask(path string, into any) error {
	client := &http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(p.url + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", path, resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// vector are the label sets that a query finds.
func (p *prometheus) vector(query string) (found []map[string]string) {
	var answer struct {
		Data struct {
			Result []struct{ Metric map[string]string }
		}
	}
	if p.ask("/api/v1/query?query="+strings.ReplaceAll(query, " ", "+"), &answer) != nil {
		return nil
	}
	for _, r := range answer.Data.Result {
		found = append(found, r.Metric)
	}
	return found
}

func (p *prometheus) rules(t *testing.T) (all alertRules) {
	t.Helper()
	var answer struct {
		Data struct {
			Groups []struct{ Rules alertRules }
		}
	}
	if err := p.ask("/api/v1/rules?type=alert", &answer); err != nil {
		t.Fatal(err)
	}
	for _, g := range answer.Data.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 20 {
		t.Fatalf("prometheus has %d alerts", len(all))
	}
	return all
}

// firing are the alerts that fire now, but for those that what the test has
// done before sets off: answers of a broken provider.
func (p *prometheus) firing(t *testing.T) (names []string) {
	t.Helper()
	for _, alert := range p.vector(`ALERTS{alertstate="firing"}`) {
		if name := alert["alertname"]; name != "SluiceProviderFailing" && name != "SluiceErrors" {
			names = append(names, name)
		}
	}
	return names
}

func (p *prometheus) await(t *testing.T, name string, within time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		if len(p.vector(`ALERTS{alertstate="firing",alertname="`+name+`"}`)) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not fire within %v; firing: %v", name, within, p.firing(t))
		}
	}
}
