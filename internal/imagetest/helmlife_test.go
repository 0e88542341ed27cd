//go:build image

package imagetest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/e2e"
	"sluice/internal/postgres/pgtest"
)

// TestHelmObjects: the API server takes every object of the chart, by its
// strictest reading, with every value that makes one.
func TestHelmObjects(t *testing.T) {
	c := Kubernetes(t)
	namespace := "objects"
	c.Kubectl(t, "create", "namespace", namespace)
	t.Cleanup(func() { c.Kubectl(t, "delete", "namespace", namespace, "--timeout=60s") })
	for _, values := range []string{
		"a=b", existing, everything + ",networkPolicy.egress[0].ports[0].port=443", "db.deployStandalone=true",
		everything + ",migrationJob.hooks.argocd.enabled=true,persistence.enabled=false",
	} {
		for _, d := range render(t, values, "-n", namespace) {
			cmd := c.Command(t, c.bin+"/kubectl", "apply", "--dry-run=server", "--validate=strict", "-n", namespace, "-f", "-")
			cmd.Stdin = d.text
			if r := cmd.Try(t); r.Code != 0 {
				t.Errorf("--set %s: %s %s: %s", values, d.kind, d.name, r.Output())
			}
		}
	}
	// It sees mistakes.
	cmd := c.Command(t, c.bin+"/kubectl", "apply", "--dry-run=server", "--validate=strict", "-n", namespace, "-f", "-")
	cmd.Stdin = strings.Replace(object(render(t, "a=b"), "Deployment", "sluice"), "livenessProbe", "livelinessProbe", 1)
	if r := cmd.Try(t); r.Code == 0 {
		t.Error("a misspelt probe was taken")
	}
}

// TestHelmWithoutDatabase: no values at all are an appliance that answers, which
// `helm test` sees, and a misspelt one is named.
func TestHelmWithoutDatabase(t *testing.T) {
	r := newRelease(t, "small", "image.tag="+imageOld)
	values := "image.tag=" + imageOld + ",replicas=3,resources.requests.cpu=50m,resources.requests.memory=64Mi"
	notes := r.c.Helm(t, "install", "small", chart(t), "-n", "small", "--set", values, "--wait", "--timeout", "3m").Run(t)
	if !strings.Contains(notes, "has passed them over: replicas.") {
		t.Errorf("nothing says that there is no value replicas:\n%s", notes)
	}
	r.c.Helm(t, "test", "small", "-n", "small", "--timeout", "1m").Run(t)
	key := r.secret("small-sluice-generated", "masterkey")
	if code, text := r.call("/v1/chat/completions", key, `{"model":"demo","messages":[{"role":"user","content":"hello"}]}`); code != http.StatusOK {
		t.Errorf("a chat completion: %d %s", code, text)
	}
	if code, _ := r.call("/v1/chat/completions", "sk-another", `{"model":"demo","messages":[]}`); code != http.StatusUnauthorized {
		t.Errorf("another key: %d, want 401", code)
	}
	if out := r.c.Kubectl(t, "get", "jobs,pvc", "-n", "small"); strings.Contains(out, "small") {
		t.Errorf("there is a job or a claim: %s", out)
	}
	logs := r.c.Kubectl(t, "logs", "-n", "small", "-l", "app.kubernetes.io/component=gateway", "--tail=-1")
	if strings.Contains(logs, key) {
		t.Error("the master key is in the log")
	}
}

// TestHelmLife is the life of an install with a database: installed into an empty
// namespace, upgraded under load, an upgrade that fails, a pod that is deleted while
// PostgreSQL is down, an uninstall. No request fails from the first to the last.
func TestHelmLife(t *testing.T) {
	pg := database(t)
	r := newRelease(t, "life", append(databaseValues(pg), "image.tag="+imageOld, "prestopDelay="+Length(8*time.Second, 15*time.Second).String(),
		"migrationJob.backoffLimit=1", "podLabels.test=life")...)
	r.c.Volumes(t, 2)
	r.makeSecret("pg", "username=sluice", "password=of-the-test")
	r.install()
	load := e2e.StartLoad(t, r.mix())
	time.Sleep(Length(5*time.Second, 30*time.Second)) // some load before the first change

	r.upgrade(pg)
	r.upgradeThatFails()
	r.podWithoutDatabase(pg)

	report := load.Stop()
	e2e.NoneFailed(t, report)
	r.accounted(pg)
	r.uninstall(pg)
}

// install: the job migrates before there is a pod, the pods are two and restricted, and
// know each other's keys.
func (r *release) install() {
	t := r.t
	t.Helper()
	began := time.Now()
	r.helm("install").Run(t)
	t.Logf("installed in %v", time.Since(began).Round(100*time.Millisecond))
	var job struct {
		Status struct {
			Succeeded      int
			CompletionTime time.Time
		}
	}
	r.c.Get(t, &job, "job", "life-sluice-migration", "-n", r.name)
	var set struct {
		Metadata struct{ CreationTimestamp time.Time }
	}
	r.c.Get(t, &set, "statefulset", "life-sluice", "-n", r.name)
	if job.Status.Succeeded != 1 || job.Status.CompletionTime.After(set.Metadata.CreationTimestamp) {
		t.Errorf("the job was done at %v, the pods made at %v", job.Status.CompletionTime, set.Metadata.CreationTimestamp)
	}
	pods := r.pods()
	if len(pods) != 2 || !pods[0].ready() || !pods[1].ready() {
		t.Fatalf("pods: %+v", pods)
	}
	for _, p := range pods { // programs inside have no shell: healthd asks itself
		out := r.c.Kubectl(t, "exec", "-n", r.name, p.Metadata.Name, "--", "/"+programsDir+"/healthd", "probe", "--url", "http://127.0.0.1:4001/health/readiness")
		if !strings.Contains(out, `"healthy"`) {
			t.Errorf("%s: %s", p.Metadata.Name, out)
		}
	}
	master := r.secret("life-sluice-generated", "masterkey")
	r.key = r.makeKey(master)
	for range 20 { // by turns on both pods
		if code, text := r.call("/v1/chat/completions", r.key, `{"model":"whole","messages":[{"role":"user","content":"x"}],"user":"first"}`); code != http.StatusOK {
			t.Fatalf("the new key: %d %s", code, text)
		}
	}
	values := r.c.Helm(t, "get", "manifest", r.name, "-n", r.name).Run(t)
	for _, secret := range []string{master, "of-the-test"} {
		if strings.Contains(values, secret) {
			t.Error("a secret is in the manifest of the release")
		}
	}
}

// upgrade: to the next release, whose migration runs while the old pods serve.
// Streams that run end whole, so an old pod stays until its last one has.
func (r *release) upgrade(pg *pgtest.Server) {
	t := r.t
	t.Helper()
	before := r.identities()
	master := r.secret("life-sluice-generated", "masterkey")
	r.values = append(r.values, "image.tag="+imageNext)
	began := time.Now()
	r.helm("upgrade").Run(t)
	t.Logf("upgraded under load in %v", time.Since(began).Round(100*time.Millisecond))
	for _, p := range r.pods() {
		if p.Spec.Containers[0].Image != "sluice:"+imageNext || !p.ready() {
			t.Errorf("%s has image %s, ready %v", p.Metadata.Name, p.Spec.Containers[0].Image, p.ready())
		}
	}
	if after := r.identities(); len(after) != 2 || slices.ContainsFunc(after, func(id string) bool { return slices.Contains(before, id) }) {
		t.Errorf("pods before %v, after %v", before, after)
	}
	if n := pgtest.Number(t, pg.URL("litellm"), "SELECT count(*)::int FROM pg_tables WHERE tablename = 'made_by_the_next_release'"); n != 1 {
		t.Errorf("the next release's migration has made %d tables, want 1", n)
	}
	if r.secret("life-sluice-generated", "masterkey") != master {
		t.Error("the upgrade changed the master key")
	}
}

// upgradeThatFails: a migration that the database refuses. Helm says so, and no
// pod is touched.
func (r *release) upgradeThatFails() {
	t := r.t
	t.Helper()
	before := r.identities()
	began := time.Now()
	res := r.helm("upgrade", "image.tag="+imageBad).Try(t)
	if res.Code == 0 || !strings.Contains(res.Output(), "pre-upgrade hooks failed") {
		t.Errorf("an upgrade with a bad migration: exit %d: %s", res.Code, tail(res.Output(), 1000))
	}
	t.Logf("failed in %v: %s", time.Since(began).Round(100*time.Millisecond), tail(res.Output(), 300))
	if status := r.history(); status != "failed" {
		t.Errorf("helm history says %s", status)
	}
	logs := r.c.Kubectl(t, "logs", "-n", r.name, "-l", "app.kubernetes.io/component=migration", "--tail=-1")
	if !strings.Contains(logs, "no_such_table") {
		t.Errorf("the job's log does not say what was wrong: %s", tail(logs, 1000))
	}
	if after := r.identities(); !slices.Equal(before, after) {
		t.Errorf("pods before %v, after %v", before, after)
	}
	r.helm("upgrade").Run(t) // and the way out: the same values as before
	if after := r.identities(); !slices.Equal(before, after) {
		t.Errorf("an upgrade to what runs made new pods: %v, %v", before, after)
	}
}

// podWithoutDatabase: PostgreSQL is killed, a pod deleted. Its successor has the
// volume, knows the keys from it, and takes traffic before the database is back.
func (r *release) podWithoutDatabase(pg *pgtest.Server) {
	t := r.t
	t.Helper()
	old := r.pods()[0]
	pg.Kill(t)
	began := time.Now()
	r.c.Kubectl(t, "delete", "pod", old.Metadata.Name, "-n", r.name, "--wait=false")
	Wait(t, "a successor that is ready", 3*time.Minute, func() error {
		for _, p := range r.pods() {
			if p.Metadata.Name == old.Metadata.Name && p.Metadata.UID != old.Metadata.UID && p.ready() {
				return nil
			}
		}
		return errNotYet
	})
	t.Logf("deleted and back without the database in %v", time.Since(began).Round(100*time.Millisecond))
	out := r.c.Kubectl(t, "exec", "-n", r.name, old.Metadata.Name, "--", "/"+programsDir+"/healthd", "probe", "--url", "http://127.0.0.1:4001/health/readiness")
	if !strings.Contains(out, `"degraded"`) {
		t.Errorf("readiness without the database: %s", out)
	}
	time.Sleep(Length(5*time.Second, 30*time.Second)) // it serves meanwhile
	pg.Start(t)
}

// accounted: every call that the provider served is in the database, once, also
// those that pods wrote down while it was away and then were deleted.
func (r *release) accounted(pg *pgtest.Server) {
	t := r.t
	t.Helper()
	Wait(t, "a row for each call", time.Minute, func() error {
		served := r.provider.Served()
		rows := pgtest.Number(t, pg.URL("litellm"), "SELECT count(*)::int FROM sluice.spend")
		if int64(rows) != served {
			return fmt.Errorf("the provider served %d calls, the database has %d rows", served, rows)
		}
		return nil
	})
}

// uninstall: nothing stays but the volumes and the keys, and an install finds
// both again.
func (r *release) uninstall(pg *pgtest.Server) {
	t := r.t
	t.Helper()
	master := r.secret("life-sluice-generated", "masterkey")
	r.c.Helm(t, "uninstall", r.name, "-n", r.name, "--wait", "--timeout", "2m").Run(t)
	Wait(t, "the end of the pods", 2*time.Minute, func() error {
		if n := len(r.pods()); n > 0 {
			return fmt.Errorf("%d pods are there", n)
		}
		return nil
	})
	if out := r.c.Kubectl(t, "get", "services,statefulsets,serviceaccounts,configmaps,poddisruptionbudgets", "-n", r.name, "-l", "app.kubernetes.io/instance=life", "-o", "name"); out != "" {
		t.Errorf("left after an uninstall: %s", out)
	}
	r.helm("install").Run(t)
	if r.secret("life-sluice-generated", "masterkey") != master {
		t.Error("an install after an uninstall made another master key")
	}
	if code, text := r.call("/v1/chat/completions", r.key, `{"model":"whole","messages":[{"role":"user","content":"x"}],"user":"last"}`); code != http.StatusOK {
		t.Errorf("the key of before: %d %s", code, text)
	}
	_ = pg
}
