//go:build image

package imagetest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/internal/fakeprovider"
	"sluice/internal/postgres/pgtest"
)

// release is an install of the chart in a namespace of its own.
type release struct {
	t        testing.TB
	c        *Cluster
	name     string
	values   []string
	provider *fakeprovider.Provider
	key      string
}

// newRelease makes the namespace, which takes no pod but those of Kubernetes'
// "restricted" standard; it is deleted, with all that is in it, when the test ends.
func newRelease(t testing.TB, name string, values ...string) *release {
	t.Helper()
	c := Kubernetes(t)
	loadImages(t, c)
	c.Kubectl(t, "create", "namespace", name)
	c.Kubectl(t, "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/enforce-version=latest")
	r := &release{t: t, c: c, name: name, values: values, provider: Provider(t)}
	t.Cleanup(func() {
		if t.Failed() {
			r.tell()
		}
		c.Kubectl(t, "delete", "deployments,statefulsets,jobs", "-n", name, "--all")
		c.Kubectl(t, "delete", "pods", "-n", name, "--all", "--grace-period=0", "--force")
		c.Kubectl(t, "delete", "namespace", name, "--wait=false")
	})
	return r
}

// tell prints what a failed test wants to know.
func (r *release) tell() {
	for _, args := range [][]string{
		{"get", "pods,jobs,statefulsets,pvc", "-o", "wide"},
		{"get", "events", "--sort-by=.lastTimestamp"},
		{"logs", "-l", "app.kubernetes.io/component=gateway", "--tail=40", "--prefix"},
		{"logs", "-l", "app.kubernetes.io/component=migration", "--tail=20", "--prefix"},
	} {
		out, err := r.c.kubectl(append(args, "-n", r.name)...)
		r.t.Logf("kubectl %s: %s %v", strings.Join(args, " "), tail(out, 4000), err)
	}
}

// helm is helm with the release's values and further ones.
func (r *release) helm(verb string, more ...string) Command {
	r.t.Helper()
	args := []string{
		verb, r.name, chart(r.t), "-n", r.name, "--set", strings.Join(append(slices.Clone(r.values), more...), ","),
		"--wait", "--timeout", "5m", "-f", r.config(),
	}
	return r.c.Helm(r.t, args...)
}

// config is a file of values with two models: whole answers at once, stream for
// as long as the test wants streams to be.
func (r *release) config() string {
	file := filepath.Join(r.t.TempDir(), "values.yaml")
	text := fmt.Sprintf(`proxy_config:
  model_list:
    - model_name: whole
      litellm_params: {model: openai/%[1]s, api_key: x, api_base: %[2]q}
    - model_name: stream
      litellm_params: {model: openai/%[1]s, api_key: x, api_base: %[3]q}
  general_settings: {master_key: os.environ/PROXY_MASTER_KEY}
resources:
  requests: {cpu: 50m, memory: 64Mi}
  limits: {cpu: "1", memory: 512Mi}
pdb: {maxUnavailable: 1}
`, fakeprovider.Model, ProviderURL(r.provider, Node, ""), ProviderURL(r.provider, Node, streamScript))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return file
}

// streamScript is a stream of about ten seconds.
const streamScript = "ok,n=100,every=100ms"

// addr is where the gateway's Service listens.
func (r *release) addr() string {
	r.t.Helper()
	return r.c.Kubectl(r.t, "get", "service", r.name+"-sluice", "-n", r.name, "-o", "jsonpath={.spec.clusterIP}") + ":4000"
}

// secret reads a key of a Secret.
func (r *release) secret(name, key string) string {
	r.t.Helper()
	b, err := base64.StdEncoding.DecodeString(r.c.Kubectl(r.t, "get", "secret", name, "-n", r.name, "-o", "jsonpath={.data."+key+"}"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// call sends one request to the gateway and returns its answer.
func (r *release) call(path, key, body string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, "http://"+r.addr()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// makeKey makes a key by the API.
func (r *release) makeKey(master string) string {
	r.t.Helper()
	code, text := r.call("/key/generate", master, `{}`)
	var made struct{ Key string }
	if err := json.Unmarshal([]byte(text), &made); err != nil || code != http.StatusOK {
		r.t.Fatalf("make a key: %d %s", code, text)
	}
	return made.Key
}

// pod is what the tests want to know of one.
type pod struct {
	Metadata struct {
		Name, UID         string
		DeletionTimestamp *time.Time
	}
	Spec struct {
		Containers []struct{ Image string }
	}
	Status struct {
		Conditions        []struct{ Type, Status string }
		ContainerStatuses []struct{ RestartCount int }
	}
}

func (p pod) ready() bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

func (r *release) pods() []pod {
	r.t.Helper()
	var list struct{ Items []pod }
	r.c.Get(r.t, &list, "pods", "-n", r.name, "-l", "app.kubernetes.io/component=gateway")
	return list.Items
}

// identities tells pods and their restarts apart.
func (r *release) identities() []string {
	r.t.Helper()
	var ids []string
	for _, p := range r.pods() {
		id := p.Metadata.Name + " " + p.Metadata.UID + " " + p.Spec.Containers[0].Image
		for _, s := range p.Status.ContainerStatuses {
			id += fmt.Sprintf(" %d", s.RestartCount)
		}
		ids = append(ids, id)
	}
	return ids
}

// mix is new and kept connections and streams, each answer compared byte by byte.
func (r *release) mix() loadgen.Spec {
	script, err := fakeprovider.ParseScript(streamScript)
	if err != nil {
		r.t.Fatal(err)
	}
	whole := func(dst []byte, id string) []byte {
		return append(dst, fakeprovider.DefaultShape.Whole(id, "whole")...)
	}
	stream := func(dst []byte, id string) []byte { return append(dst, script.Shape.Stream(id, "stream", false)...) }
	return loadgen.Spec{
		Addr: r.addr(), Key: r.key, Model: "whole", Duration: 20 * time.Minute, Timeout: time.Minute,
		Classes: []loadgen.Class{
			{Name: "new", Fresh: true, Rate: 20, Expect: whole},
			{Name: "kept", Conns: 20, Think: time.Second, Expect: whole},
			{Name: "stream", Conns: Length(10, 40), Stream: true, Model: "stream", Expect: stream},
			{Name: "idle", Conns: 5, Idle: true, Warm: true, Expect: whole},
		},
	}
}

// history is what helm says of a revision.
func (r *release) history() (status string) {
	r.t.Helper()
	var list []struct{ Status string }
	if err := json.Unmarshal([]byte(r.c.Helm(r.t, "history", r.name, "-n", r.name, "-o", "json").Run(r.t)), &list); err != nil || len(list) == 0 {
		r.t.Fatalf("helm history: %v", err)
	}
	return list[len(list)-1].Status
}

// Images of the tests: the one under test, a release after it with a migration
// more, and one whose migration fails.
const (
	imageOld  = "old"
	imageNext = "next"
	imageBad  = "bad"
)

// programsDir is where the image has its programs.
const programsDir = "usr/lib/sluice/current"

var imagesOnce sync.Once

// loadImages gives the node the three images, once.
func loadImages(t testing.TB, c *Cluster) {
	t.Helper()
	imagesOnce.Do(func() {
		base, err := readImage(Dist(t, "sluice-image.tar"))
		if err != nil {
			t.Fatalf("%v: make image", err)
		}
		at := base.link(t, programsDir)
		for tag, more := range map[string]struct {
			number    int
			migration string
			programs  []string
		}{
			imageOld:  {},
			imageNext: {99, "CREATE TABLE sluice.made_by_the_next_release (id int PRIMARY KEY);", []string{"supervisor", "proxy", "healthd", "migrator"}},
			imageBad:  {100, "INSERT INTO sluice.no_such_table VALUES (1);", []string{"migrator"}},
		} {
			files := map[string][]byte{}
			for name, program := range buildRelease(t, tag, more.number, more.migration, more.programs) {
				files[path.Join(at, name)] = program
			}
			image, err := base.with(files)
			if err != nil {
				t.Fatal(err)
			}
			tar := filepath.Join(c.dir, tag+".tar")
			if err := image.write(tar, "sluice:"+tag); err != nil {
				t.Fatal(err)
			}
			c.Load(t, tar)
			_ = os.Remove(tar)
		}
	})
}

// buildRelease builds programs as another release, with a migration more than
// this one's.
func buildRelease(t testing.TB, version string, number int, migration string, names []string) map[string][]byte {
	t.Helper()
	if len(names) == 0 {
		return nil
	}
	dir := t.TempDir()
	sql := filepath.Join(dir, "more.sql")
	if err := os.WriteFile(sql, []byte("-- +goose Up\n"+migration+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(Root(t), "migrator", "schema", "postgres", fmt.Sprintf("%05d_more.sql", number)): sql}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"go", "build", "-trimpath", "-overlay", overlay, "-ldflags", "-s -w -X sluice/internal/boot.Version=" + version, "-o", dir + "/"}
	for _, name := range names {
		args = append(args, "./"+name)
	}
	Command{Args: args, Dir: Root(t), Env: []string{"CGO_ENABLED=0"}, Within: 10 * time.Minute}.Run(t)
	programs := map[string][]byte{}
	for _, name := range names {
		if programs[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return programs
}

// database starts a PostgreSQL that pods reach at the node's address, with a
// role of their own, whose password is checked.
func database(t testing.TB) *pgtest.Server {
	t.Helper()
	s := pgtest.New(t)
	pgtest.Exec(t, s.URL("postgres"), "CREATE ROLE sluice LOGIN PASSWORD 'of-the-test'")
	pgtest.Exec(t, s.URL("postgres"), "CREATE DATABASE litellm OWNER sluice")
	hba := filepath.Join(s.Dir, "hba.conf")
	rules := "local all all trust\nhost all postgres 127.0.0.1/32 trust\nhost all all " + podNet + " scram-sha-256\n"
	if err := os.WriteFile(hba, []byte(rules), 0o644); err != nil { //nolint:gosec // PostgreSQL runs as another user
		t.Fatal(err)
	}
	s.Stop(t)
	s.Configure("listen_addresses=0.0.0.0", "hba_file="+hba)
	s.Start(t)
	return s
}

// databaseValues are the chart's values for it; its Secret is made by makeSecret.
func databaseValues(s *pgtest.Server) []string {
	return []string{"db.useExisting=true", fmt.Sprintf("db.endpoint=%s:%d", Node, s.Port), "db.secret.name=pg"}
}

func (r *release) makeSecret(name string, entries ...string) {
	r.t.Helper()
	args := []string{"create", "secret", "generic", name, "-n", r.name}
	for _, e := range entries {
		args = append(args, "--from-literal="+e)
	}
	r.c.Kubectl(r.t, args...)
}

var errNotYet = errors.New("not yet")
