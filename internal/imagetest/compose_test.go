//go:build image

package imagetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/e2e"
	"sluice/internal/fakeprovider"
	"sluice/supervisor/fleet"
)

// services makes an image with Debian's PostgreSQL and Redis, whose entry script
// keeps the contract of the public images: the variables POSTGRES_*, a first
// start on the socket alone, the user to run as. What it is made from stays in
// .run/imagetest. The file under test is the file that is shipped: it names its
// images by variable.
func services(t testing.TB) string {
	t.Helper()
	const name = "sluice-services:local"
	cache := filepath.Join(Root(t), ".run", "imagetest")
	tar := filepath.Join(cache, "services.tar")
	if _, err := os.Stat(tar); err != nil {
		if err := os.MkdirAll(cache, 0o755); err != nil {
			t.Fatal(err)
		}
		fresh := fmt.Sprintf("%s.%d", tar, time.Now().UnixNano())
		Command{
			Args:    []string{"mmdebstrap", "--quiet", "--format=tar", "--variant=minbase", "--include=postgresql-15,redis-server", "bookworm", fresh},
			Outside: true, Within: 8 * time.Minute,
		}.Run(t)
		if err := os.Rename(fresh, tar); err != nil {
			t.Fatal(err)
		}
	}
	Docker(t, "import", tar, "sluice-services:root")
	context := filepath.Join(RunDir(), "services")
	if err := os.MkdirAll(context, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"docker-entrypoint.sh": entryScript,
		"Dockerfile": "FROM sluice-services:root\nENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data\n" +
			"COPY --chmod=755 docker-entrypoint.sh /usr/local/bin/\nRUN mkdir -p /run/postgresql /var/lib/postgresql/data && chown postgres /run/postgresql /var/lib/postgresql/data\n" +
			"STOPSIGNAL SIGINT\nENTRYPOINT [\"docker-entrypoint.sh\"]\nCMD [\"postgres\"]\n",
	} {
		if err := os.WriteFile(filepath.Join(context, file), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := DockerCommand(t, "build", "-q", "-t", name, context)
	c.Env = []string{"DOCKER_BUILDKIT=1"}
	c.Run(t)
	return name
}

const entryScript = `#!/bin/sh
set -eu
case ${1:-} in
redis-server) exec setpriv --reuid redis --regid redis --init-groups "$@" ;;
postgres) ;;
*) exec "$@" ;;
esac
run() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  password=${POSTGRES_PASSWORD:-$(cat "$POSTGRES_PASSWORD_FILE")}
  (umask 077 && printf '%s' "$password" >/tmp/first && chown postgres /tmp/first)
  run initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile=/tmp/first --auth-host=scram-sha-256 --auth-local=trust
  rm /tmp/first
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  run pg_ctl -D "$PGDATA" -o "-c listen_addresses=" -w start
  run createdb -h /run/postgresql -U "$POSTGRES_USER" "$POSTGRES_DB"
  run pg_ctl -D "$PGDATA" -w stop
fi
exec setpriv --reuid postgres --regid postgres --init-groups "$@" -c listen_addresses='*'
`

// stack is the shipped compose file, running.
type stack struct {
	*box
	dir  string
	env  []string
	file string // the configuration that the gateway has
}

// startStack copies image/compose, runs its setup, as an operator does, adds a
// provider's key and starts it with docker-compose.
func startStack(t testing.TB, p *fakeprovider.Provider) *stack {
	t.Helper()
	image := services(t)
	dir := filepath.Join(RunDir(), "compose")
	Run(t, "cp", "-r", filepath.Join(Root(t), "image", "compose"), dir)
	Run(t, "rm", "-rf", filepath.Join(dir, ".env"), filepath.Join(dir, "secrets"))
	Run(t, filepath.Join(dir, "setup"))
	configuration := filepath.Join(dir, "config", "config.yaml")
	replace(t, configuration, withModels(t, configuration, p))
	key := filepath.Join(dir, "secrets", "openai_api_key")
	if err := os.WriteFile(key, []byte("sk-of-the-provider\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(key, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	master, err := os.ReadFile(filepath.Join(dir, "secrets", "litellm_master_key"))
	if err != nil {
		t.Fatal(err)
	}
	s := &stack{dir: dir, file: configuration, env: []string{
		"DOCKER_HOST=" + Engine(t), "GATEWAY_IMAGE=" + boxImage(t), "POSTGRES_IMAGE=" + image, "REDIS_IMAGE=" + image,
		"GATEWAY_CPUS=2", "GATEWAY_MEMORY=2g", "GATEWAY_OPEN_FILES=4096", "GATEWAY_PRESTOP_DELAY=1s",
	}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s", tail(s.compose(t, "logs", "--no-color").Try(t).Output(), 10000))
		}
		s.compose(t, "down", "-v", "-t", "20").Try(t)
	})
	began := time.Now()
	s.compose(t, "up", "-d").Run(t)
	id := s.compose(t, "ps", "-q", "gateway").Run(t)
	s.box = &box{Container: &Container{ID: id, t: t}, t: t, key: strings.TrimSpace(string(master))}
	s.addr = s.IP() + ":4000"
	s.waitReady()
	t.Logf("show 5: the stack is ready %v after docker-compose up", time.Since(began).Round(100*time.Millisecond))
	return s
}

// replace puts a new file in the place of one, as editors do.
func replace(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil { //nolint:gosec // the container's user reads it
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// compose is a call of docker-compose in the stack's folder.
func (s *stack) compose(t testing.TB, args ...string) Command {
	t.Helper()
	return Command{Args: append([]string{"docker-compose"}, args...), Dir: s.dir, Env: s.env, Within: 5 * time.Minute}
}

// withModels is the shipped configuration with the fake provider's models in
// the place of its model list, and every other line as it is.
func withModels(t testing.TB, file string, p *fakeprovider.Provider) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\ngeneral_settings:")
	if !ok {
		t.Fatalf("%s has no general_settings", file)
	}
	list := strings.ReplaceAll(boxModels(p), "api_key: x", "api_key: os.environ/OPENAI_API_KEY")
	return list + "\ngeneral_settings:" + rest
}

// checklist reads the table of docs/deploy-container.md that maps the lines of
// LiteLLM's checklist: the line, and by what it is seen.
func checklist(t testing.TB) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(t), "docs", "deploy-container.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n| LiteLLM's line | here | seen by |\n")
	if !ok {
		t.Fatal("docs/deploy-container.md has no checklist")
	}
	out := map[string]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 3 {
			if strings.HasPrefix(line, "|---") {
				continue
			}
			break
		}
		out[strings.TrimPrefix(cells[0], "| ")] = strings.TrimSuffix(cells[2], " |")
	}
	return out
}

// Show 5: the compose stack, and LiteLLM's checklist by the table that operators
// read. A row whose last cell names no check fails, and so does a check that no
// row names.
func TestComposeChecklist(t *testing.T) {
	p := Provider(t)
	s := startStack(t, p)
	checks := map[string]func(t *testing.T, row string){
		"configuration": s.checkConfiguration, "command": s.checkCommand, "environment": s.checkEnvironment, "log": s.checkLog,
		"readiness": s.checkReadiness, "liveness": s.checkLiveness, "status": s.checkSlots, "secrets": s.checkSecrets,
		"chat": s.checkChat, "models": s.checkModels,
	}
	rows := checklist(t)
	if len(rows) != 23 {
		t.Errorf("the table has %d rows, LiteLLM's checklist 23 lines", len(rows))
	}
	used := map[string]bool{}
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		t.Run(row, func(t *testing.T) {
			check := checks[rows[row]]
			if check == nil {
				t.Fatalf("nothing checks %q", rows[row])
			}
			used[rows[row]] = true
			check(t, row)
		})
	}
	for name := range checks {
		if !used[name] {
			t.Errorf("no row is seen by %q", name)
		}
	}
	t.Run("limits", s.checkLimits)
	t.Run("reload", s.checkReload)
	t.Run("stop", s.checkStop)
}

// checkConfiguration finds the row's settings in the file, and sees that the
// gateway knows every one of them.
func (s *stack) checkConfiguration(t *testing.T, row string) {
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row, -1) {
		if !strings.Contains(string(text), "  "+quoted[1]) {
			t.Errorf("config.yaml lacks %s", quoted[1])
		}
	}
	if log := s.Logs(); strings.Contains(log, "unknown key") || strings.Contains(log, "is not known") {
		t.Errorf("the gateway does not know a key:\n%s", tail(log, 3000))
	}
}

func (s *stack) checkCommand(t *testing.T, row string) {
	command := Docker(t, "inspect", "-f", "{{json .Config.Cmd}}", s.ID)
	for _, word := range strings.Fields(strings.Trim(row, "`")) {
		if !strings.Contains(command, strconv.Quote(word)) {
			t.Errorf("the command %s lacks %s", command, word)
		}
	}
}

func (s *stack) checkEnvironment(t *testing.T, row string) {
	environment := Docker(t, "inspect", "-f", "{{json .Config.Env}}", s.ID)
	if !strings.Contains(environment, `"LITELLM_MODE=PRODUCTION"`) {
		t.Errorf("the environment is %s", environment)
	}
	if strings.Contains(row, "LITELLM_LOG") {
		c := s.compose(t, "config")
		c.Env = append(c.Env, "GATEWAY_LOG=ERROR")
		if !strings.Contains(c.Run(t), "LITELLM_LOG: ERROR") {
			t.Error("GATEWAY_LOG=ERROR does not reach the gateway")
		}
	}
}

func (s *stack) checkLog(t *testing.T, _ string) {
	lines := 0
	for line := range strings.Lines(withoutPressure(s.Logs())) {
		lines++
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
	if lines < 5 {
		t.Errorf("the log has %d lines", lines)
	}
}

// checkReadiness: database and Redis are there, with the passwords of setup.
func (s *stack) checkReadiness(t *testing.T, _ string) {
	Wait(t, "both dependencies", 20*time.Second, func() error {
		status, body, err := boxGet("http://" + s.IP() + ":4001/health/readiness")
		var ready map[string]any
		if err == nil {
			err = json.Unmarshal([]byte(body), &ready)
		}
		if err != nil || status != http.StatusOK || ready["db"] != "connected" || ready["redis"] != "connected" {
			return fmt.Errorf("%d %s %w", status, body, err)
		}
		return nil
	})
}

func (s *stack) checkLiveness(t *testing.T, _ string) {
	status, body, err := boxGet("http://127.0.0.1:4001/health/liveliness") // as it is published
	if err != nil || status != http.StatusOK || body != `"I'm alive!"` {
		t.Errorf("liveness: %d %s %v", status, body, err)
	}
	Wait(t, "HEALTHCHECK", 40*time.Second, func() error {
		if h := s.State().Health; h == nil || h.Status != "healthy" {
			return fmt.Errorf("it is %+v", h)
		}
		return nil
	})
}

func (s *stack) checkSlots(t *testing.T, _ string) {
	var status fleet.Status
	text := s.compose(t, "exec", "-T", "gateway", "supervisor", "status", "--json").Run(t)
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		t.Fatalf("%v: %.300s", err, text)
	}
	if len(status.Slots) != 2 {
		t.Errorf("GATEWAY_CPUS=2: %d workers", len(status.Slots))
	}
}

// checkSecrets: they are files of the gateway's user alone, and in no
// environment, log or process listing.
func (s *stack) checkSecrets(t *testing.T, _ string) {
	containers := strings.Fields(s.compose(t, "ps", "-q").Run(t))
	for _, name := range []string{"litellm_master_key", "litellm_salt_key", "database_password", "redis_password", "openai_api_key"} {
		file := filepath.Join(s.dir, "secrets", name)
		info, err := os.Stat(file)
		if err != nil {
			t.Error(err)
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil || info.Mode().Perm() != 0o400 || len(text) < 16 {
			t.Errorf("%s: mode %v, %d bytes, %v", name, info.Mode(), len(text), err)
		}
		secret := strings.TrimSpace(string(text))
		if strings.HasPrefix(name, "litellm_") && !strings.HasPrefix(secret, "sk-") {
			t.Errorf("%s does not begin with sk-", name)
		}
		for _, id := range containers {
			seen := Docker(t, "inspect", id) + Docker(t, "top", id, "-eo", "pid,args") + DockerCommand(t, "logs", id).Try(t).Output()
			if strings.Contains(seen, secret) {
				t.Errorf("%s is shown by docker inspect, top or logs of %.12s", name, id)
			}
		}
	}
	if len(containers) != 3 {
		t.Errorf("%d containers run", len(containers))
	}
}

func (s *stack) checkChat(t *testing.T, _ string) {
	s.chat(s.key)
	var made struct{ Key string }
	s.must(http.MethodPost, "/key/generate", s.key, `{"models":["whole"]}`, &made)
	s.chat(made.Key)
}

func (s *stack) checkModels(t *testing.T, _ string) {
	if answer := s.must(http.MethodGet, "/v1/models", s.key, "", nil); !strings.Contains(answer, `"whole"`) {
		t.Errorf("models: %s", answer)
	}
	if status, _, err := boxAsk(http.MethodGet, "http://"+s.addr+"/v1/models", "sk-wrong", ""); err != nil || status != http.StatusUnauthorized {
		t.Errorf("with a wrong key: %d %v", status, err)
	}
}

// checkLimits: what .env and the file say of CPUs, memory and rights is what the
// engine holds the gateway to.
func (s *stack) checkLimits(t *testing.T) {
	const format = "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.Config.User}}"
	const want = "2000000000 2147483648 2048 true [ALL] [no-new-privileges:true] 65532:65532"
	if got := Docker(t, "inspect", "-f", format, s.ID); got != want {
		t.Errorf("the gateway's limits are\n%s, want\n%s", got, want)
	}
}

// checkReload: a configuration that an editor has put in the place of the old one
// is in force after HUP, and one that is wrong changes nothing.
func (s *stack) checkReload(t *testing.T) {
	text, err := os.ReadFile(s.file)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, s.file, strings.Replace(string(text), "model_name: whole\n", "model_name: added\n", 1)+"# new\n")
	s.compose(t, "kill", "-s", "HUP", "gateway").Run(t)
	Wait(t, "the new model", 20*time.Second, func() error {
		if answer := s.must(http.MethodGet, "/v1/models", s.key, "", nil); !strings.Contains(answer, `"added"`) || strings.Contains(answer, `"whole"`) {
			return fmt.Errorf("models: %s", answer)
		}
		return nil
	})
	replace(t, s.file, "model_list: 7\n")
	s.compose(t, "kill", "-s", "HUP", "gateway").Run(t)
	Wait(t, "a line of the log that refuses it", 20*time.Second, func() error {
		if !strings.Contains(s.Logs(), "configuration refused") {
			return errNotYet
		}
		return nil
	})
	if answer := s.must(http.MethodGet, "/v1/models", s.key, "", nil); !strings.Contains(answer, `"added"`) {
		t.Errorf("after a bad file: %s", answer)
	}
	replace(t, s.file, string(text))
	s.compose(t, "kill", "-s", "HUP", "gateway").Run(t)
	Wait(t, "the first models", 20*time.Second, func() error {
		if answer := s.must(http.MethodGet, "/v1/models", s.key, "", nil); !strings.Contains(answer, `"whole"`) {
			return fmt.Errorf("models: %s", answer)
		}
		return nil
	})
}

// checkStop: streams end whole under docker-compose stop, whose grace is the
// file's 3660 s.
func (s *stack) checkStop(t *testing.T) {
	spec := s.load(20)
	spec.Classes = spec.Classes[2:]
	load := e2e.StartLoad(t, spec)
	Wait(t, "20 streams", 20*time.Second, func() error {
		if n := openStreams(s.status()); n < 20 {
			return fmt.Errorf("%d are open", n)
		}
		return nil
	})
	load.End()
	s.compose(t, "stop").Run(t)
	e2e.NoneFailed(t, load.Stop())
	if code := s.State().ExitCode; code != 0 {
		t.Errorf("the gateway ended with %d", code)
	}
}
