//go:build image

package imagetest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// archiveEntry is one file of an image.
type archiveEntry struct {
	header *tar.Header
	body   []byte // of files below a megabyte
}

// archiveFiles reads the one layer of an image's archive and its configuration.
func archiveFiles(t testing.TB, archive string) (map[string]archiveEntry, string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatalf("%v: make image writes it", err)
	}
	defer f.Close()
	found, config := map[string]archiveEntry{}, ""
	layers := 0
	for outer := tar.NewReader(f); ; {
		h, err := outer.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case h.Typeflag == tar.TypeReg && strings.HasSuffix(h.Name, ".tar"):
			layers++
			readLayer(t, outer, found)
		case strings.HasSuffix(h.Name, ".json") && len(h.Name) > 60:
			text, err := io.ReadAll(outer)
			if err != nil {
				t.Fatal(err)
			}
			config = string(text)
		}
	}
	if layers != 1 || config == "" {
		t.Fatalf("%s has %d layers and a configuration of %d bytes", archive, layers, len(config))
	}
	return found, config
}

func readLayer(t testing.TB, r io.Reader, into map[string]archiveEntry) {
	t.Helper()
	for layer := tar.NewReader(r); ; {
		h, err := layer.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		e := archiveEntry{header: h}
		if h.Size < 1<<20 {
			if e.body, err = io.ReadAll(layer); err != nil {
				t.Fatal(err)
			}
		}
		into[strings.TrimSuffix(h.Name, "/")] = e
	}
}

// Show 1: 65 MB unpacked, 26 MB as gzip -9; owners and modes; nothing but what
// is meant to be there, and no secret.
func TestContainerImage(t *testing.T) {
	const mostUnpacked, mostPacked = 65_000_000, 26_000_000
	archive := Dist(t, "sluice-image.tar")
	found, config := archiveFiles(t, archive)
	unpacked := int64(0)
	for name, e := range found {
		unpacked += e.header.Size
		if strings.HasPrefix(name, "usr/lib/sluice/") && e.header.Typeflag == tar.TypeReg {
			t.Logf("show 1: %-40s %9d bytes", name, e.header.Size)
		}
		state := name == "var/lib/sluice"
		if (e.header.Uid == 65532) != state || e.header.Mode&0o022 != 0 && name != "tmp" && e.header.Typeflag != tar.TypeSymlink {
			t.Errorf("%s: owner %d, mode %o", name, e.header.Uid, e.header.Mode)
		}
		if bytes.Contains(e.body, []byte("PRIVATE KEY")) || regexp.MustCompile(`sk-[A-Za-z0-9]{16}`).Match(e.body) {
			t.Errorf("%s has something like a secret in it", name)
		}
	}
	if s, ok := found["var/lib/sluice"]; !ok || s.header.Mode&0o777 != 0o700 {
		t.Errorf("the state directory: %+v", s.header)
	}
	packed := packedSize(t, archive)
	t.Logf("show 1: %d bytes unpacked (most %d), %d as gzip -9 (most %d)", unpacked, mostUnpacked, packed, mostPacked)
	if unpacked > mostUnpacked || packed > mostPacked {
		t.Errorf("%d bytes unpacked, %d packed: allowed are %d and %d", unpacked, packed, mostUnpacked, mostPacked)
	}
	for _, name := range []string{"app", "tmp", "etc/ssl/certs/ca-certificates.crt", "usr/share/zoneinfo.zip", "usr/lib/sluice/current", "usr/share/sluice/sbom.cdx.json"} {
		if _, ok := found[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	for _, want := range []string{`"User":"65532:65532"`, `"WorkingDir":"/app"`, `"StopSignal":"SIGTERM"`, `"healthd","probe"`, "org.opencontainers.image.version"} {
		if !strings.Contains(strings.ReplaceAll(config, "/usr/lib/sluice/current/", ""), want) {
			t.Errorf("the configuration lacks %s", want)
		}
	}
	billOfMaterials(t, found["usr/share/sluice/sbom.cdx.json"].body, "modernc.org/sqlite", "github.com/valyala/fasthttp", "std")
}

func packedSize(t testing.TB, file string) int64 {
	t.Helper()
	out := Run(t, "sh", "-c", `gzip -9nc "$1" | wc -c`, "sh", file)
	n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// billOfMaterials checks that an SBOM names what is linked in, and that every
// dependency that it speaks of is there.
func billOfMaterials(t testing.TB, text []byte, names ...string) {
	t.Helper()
	var bill struct {
		BOMFormat    string
		Components   []struct{ Name, Version, BOMRef string }
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	if err := json.Unmarshal(bytes.ReplaceAll(text, []byte(`"bom-ref"`), []byte(`"BOMRef"`)), &bill); err != nil {
		t.Fatalf("bill of materials: %v", err)
	}
	refs, there := map[string]bool{"sluice": true}, map[string]bool{}
	for _, c := range bill.Components {
		refs[c.BOMRef], there[c.Name] = true, true
	}
	for _, name := range names {
		if !there[name] {
			t.Errorf("bill of materials: %s is missing among %d components", name, len(bill.Components))
		}
	}
	for _, d := range bill.Dependencies {
		for _, ref := range append(d.DependsOn, d.Ref) {
			if !refs[ref] {
				t.Errorf("bill of materials: %s is no component", ref)
			}
		}
	}
}

// Show 1: make image twice gives the same bytes. The full form builds the other
// architecture twice as well.
func TestContainerReproducible(t *testing.T) {
	_, config := archiveFiles(t, Dist(t, "sluice-image.tar"))
	label := func(name string) string {
		m := regexp.MustCompile(`"` + name + `":"([^"]*)"`).FindStringSubmatch(config)
		if m == nil {
			t.Fatalf("no label %s", name)
		}
		return m[1]
	}
	created, err := time.Parse(time.RFC3339, label("org.opencontainers.image.created"))
	if err != nil {
		t.Fatal(err)
	}
	build := func(arch string) string {
		out, err := os.MkdirTemp(RunDir(), "image")
		if err != nil {
			t.Fatal(err)
		}
		Command{
			Args: []string{filepath.Join(Root(t), "image/container/build")}, Outside: true, Within: 15 * time.Minute,
			Env: []string{
				"IMAGE_OUT=" + out, "IMAGE_PLATFORMS=linux/" + arch, "VERSION=" + label("org.opencontainers.image.version"),
				"SOURCE_DATE_EPOCH=" + strconv.FormatInt(created.Unix(), 10),
			},
		}.Run(t)
		name := "sluice-image.tar"
		if arch != runtime.GOARCH {
			name = "sluice-image-" + arch + ".tar"
		}
		return filepath.Join(out, name)
	}
	same := func(a, b string) {
		if r := (Command{Args: []string{"cmp", a, b}}).Try(t); r.Code != 0 {
			t.Errorf("two builds differ: %s", r.Output())
		}
	}
	same(Dist(t, "sluice-image.tar"), build(runtime.GOARCH))
	if Full() {
		other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
		first := build(other)
		same(first, build(other))
		if _, config := archiveFiles(t, first); !strings.Contains(config, `"architecture":"`+other+`"`) {
			t.Errorf("the image for %s says otherwise", other)
		}
	}
}

// Show 1: starts read-only, as nobody, without a capability; LiteLLM's run line
// and environment; as many slots as CPUs are allowed; the memory limit is seen.
func TestContainerHardened(t *testing.T) {
	p := Provider(t)
	perWorker := map[int]int64{}
	for _, cpus := range []int{1, 2} {
		t.Run(fmt.Sprintf("cpus=%d", cpus), func(t *testing.T) {
			began := time.Now()
			g := runBox(t, p, "--cpus", strconv.Itoa(cpus),
				"-e", "LITELLM_MIGRATION_DIR=/nowhere/migrations", "-e", "LITELLM_UI_PATH=/nowhere/ui", "-e", "LITELLM_ASSETS_PATH=/nowhere/assets",
				"-e", "LITELLM_NON_ROOT=true", "-e", "PRISMA_BINARY_CACHE_DIR=/nowhere/prisma", "-e", "XDG_CACHE_HOME=/nowhere",
				"-e", "USE_PRISMA_MIGRATE=True", "-e", "SEPARATE_HEALTH_APP=1", "-e", "LITELLM_MODE=PRODUCTION")
			t.Logf("show 1: ready %v after docker run", time.Since(began).Round(10*time.Millisecond))
			s := g.status()
			if len(s.Slots) != cpus {
				t.Errorf("--cpus %d: %d slots", cpus, len(s.Slots))
			}
			g.chat(g.key)
			checkProcess(t, g.State().Pid)
			for _, slot := range s.Slots {
				limit := environOf(t, g, slot.Generations[0].PID, "GOMEMLIMIT")
				if perWorker[cpus], _ = strconv.ParseInt(limit, 10, 64); perWorker[cpus] <= 0 {
					t.Errorf("slot %d: memory limit %q", slot.Slot, limit)
				}
			}
			if status, body, err := boxGet("http://" + g.IP() + ":4001/health/liveliness"); err != nil || status != http.StatusOK || body != `"I'm alive!"` {
				t.Errorf("liveness: %d %s %v", status, body, err)
			}
			g.Exec("healthd", "probe")
			Wait(t, "HEALTHCHECK", 40*time.Second, func() error {
				if h := g.State().Health; h == nil || h.Status != "healthy" {
					return fmt.Errorf("it is %+v", h)
				}
				return nil
			})
		})
	}
	// 55 % of a gibibyte, over the workers.
	if one, two := perWorker[1], perWorker[2]; one < 500<<20 || one > 600<<20 || two < 250<<20 || two > 300<<20 {
		t.Errorf("with --memory 1g a worker of one has %d bytes, one of two %d", one, two)
	}
}

// checkProcess looks at the first process of a container as the kernel sees it.
func checkProcess(t testing.TB, pid int) {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("the supervisor's status lacks %q", want)
		}
	}
}

// environOf is one variable of a process, by its number in the container.
func environOf(t testing.TB, g *box, inner int, name string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(outerPID(t, g, inner)) + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	for v := range strings.SplitSeq(string(text), "\x00") {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// outerPID is the number that a process of the container has here.
func outerPID(t testing.TB, g *box, inner int) int {
	t.Helper()
	for _, pid := range g.processes() {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "NSpid:" && f[len(f)-1] == strconv.Itoa(inner) {
				return pid
			}
		}
	}
	t.Fatalf("the container has no process %d", inner)
	return 0
}

// processes are all of the container, by their numbers here.
func (g *box) processes() []int {
	g.t.Helper()
	var pids []int
	for line := range strings.Lines(DockerCommand(g.t, "top", g.ID, "-eo", "pid").Try(g.t).Stdout) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Bad input: what cannot be written is said in one line with the way out, and
// the exit code says that trying again is of no use.
func TestContainerStateDirectory(t *testing.T) {
	image := boxImage(t)
	foreign := filepath.Join(RunDir(), "foreign")
	if err := os.MkdirAll(foreign, 0o755); err != nil {
		t.Fatal(err)
	}
	boxConfig(t, "") // opens the folder of the run
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"a bind mount of root's", []string{"-v", foreign + ":/var/lib/sluice"}, []string{"/var/lib/sluice belongs to 0:0, mode 0755", "chown 65532:65532"}},
		{"no volume", nil, []string{"/var/lib/sluice", "read-only", "mount a volume there"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := StartContainer(t, append(append(append([]string{}, boxOptions...), c.args...), image)...)
			code := g.WaitExit(20 * time.Second)
			said := withoutPressure(g.Logs())
			if code != 78 || strings.Contains(said, "\n") {
				t.Errorf("exit %d, said:\n%s", code, said)
			}
			for _, want := range c.want {
				if !strings.Contains(said, want) {
					t.Errorf("%q does not say %q", said, want)
				}
			}
		})
	}
}

// withoutPressure leaves out what the metrics library says, before any code of
// ours runs, on machines that keep no pressure figures of a control group.
func withoutPressure(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "metrics: disable exposing PSI metrics") {
			kept = append(kept, line)
		}
	}
	return strings.TrimSpace(strings.Join(kept, ""))
}
