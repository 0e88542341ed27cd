//go:build image

package imagetest

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestHelmStandalone: an install that brings its own PostgreSQL is ready without
// anybody's help, also with --wait, and its keys outlive an uninstall.
func TestHelmStandalone(t *testing.T) {
	r := newRelease(t, "alone", "db.deployStandalone=true", "image.tag="+imageOld, "replicaCount=1", "prestopDelay=0s",
		"postgresql.image=sluice-test-postgres:1", "postgresql.persistence.size=1Gi")
	r.c.Volumes(t, 2)
	tar := filepath.Join(r.c.dir, "postgres.tar")
	if err := postgresImage(t).write(tar, "sluice-test-postgres:1"); err != nil {
		t.Fatal(err)
	}
	r.c.Load(t, tar)
	_ = os.Remove(tar)
	r.helm("install").Run(t)
	r.key = r.makeKey(r.secret("alone-sluice-generated", "masterkey"))
	password := r.secret("alone-sluice-postgresql", "password")
	ask := `{"model":"whole","messages":[{"role":"user","content":"x"}],"user":"x"}`
	if code, text := r.call("/v1/chat/completions", r.key, ask); code != http.StatusOK {
		t.Errorf("the new key: %d %s", code, text)
	}
	r.values = append(r.values, "image.tag="+imageNext)
	r.helm("upgrade").Run(t)
	if got := r.secret("alone-sluice-postgresql", "password"); got != password {
		t.Error("the upgrade changed the password of the database")
	}
	r.c.Helm(t, "uninstall", r.name, "-n", r.name, "--wait", "--timeout", "2m").Run(t)
	r.helm("install").Run(t)
	if got := r.secret("alone-sluice-postgresql", "password"); got != password {
		t.Error("an install after an uninstall made another password: nothing opens the volume any more")
	}
	if code, text := r.call("/v1/chat/completions", r.key, ask); code != http.StatusOK {
		t.Errorf("the key of before the uninstall: %d %s", code, text)
	}
}

// postgresEntry does what the public image's script does with the variables that the
// chart sets: makes the cluster, the role and the database on an empty volume,
// and becomes the server.
const postgresEntry = `package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

const bin = "BIN"

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(stdin string, args ...string) {
	cmd := exec.Command(bin+args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), os.Stderr, os.Stderr
	must(cmd.Run())
}

func main() {
	data := os.Getenv("PGDATA")
	if _, err := os.Stat(data + "/PG_VERSION"); err != nil {
		run("", "initdb", "-D", data, "-U", os.Getenv("POSTGRES_USER"), "--pwfile", os.Getenv("POSTGRES_PASSWORD_FILE"),
			"--auth-local=trust", "--auth-host=scram-sha-256", "-E", "UTF8", "--locale=C")
		run("CREATE DATABASE "+os.Getenv("POSTGRES_DB")+"\n", "postgres", "--single", "-D", data, "postgres")
		f, err := os.OpenFile(data+"/pg_hba.conf", os.O_APPEND|os.O_WRONLY, 0)
		must(err)
		_, err = f.WriteString("host all all all scram-sha-256\n")
		must(err)
		must(f.Close())
	}
	// It looks for its other programs beside the path that it was called by.
	must(syscall.Exec(bin+"postgres", []string{bin + "postgres", "-D", data, "-c", "listen_addresses=*"}, os.Environ()))
}
`

// postgresImage is an image of the machine's PostgreSQL (Debian's package): its
// files, the libraries that they need, a shell for initdb, and postgresEntry.
func postgresImage(t testing.TB) *image {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		t.Fatal("PostgreSQL is missing: run .ci/needs services")
	}
	bin := found[len(found)-1]
	version := filepath.Base(filepath.Dir(bin))
	files := map[string][]byte{
		"etc/passwd": []byte("postgres:x:999:999::/:/bin/sh\n"),
		"etc/group":  []byte("postgres:x:999:\n"),
		"entry":      buildEntry(t, bin),
	}
	add := func(path, as string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(as, "/")] = b
	}
	var linked []string
	for _, program := range []string{"initdb", "postgres", "pg_isready"} {
		linked = append(linked, filepath.Join(bin, program))
		add(filepath.Join(bin, program), filepath.Join(bin, program))
	}
	add("/bin/dash", "/bin/sh")
	add(filepath.Join(bin, "pg_isready"), "/usr/bin/pg_isready")
	for _, dir := range []string{"/usr/lib/postgresql/" + version + "/lib", "/usr/share/postgresql/" + version, "/usr/share/zoneinfo"} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				if info, statErr := os.Stat(path); statErr == nil && info.Mode().IsRegular() {
					add(path, path)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(Run(t, append([]string{"ldd", "/bin/dash"}, linked...)...)) {
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, "/") && !strings.HasSuffix(word, ":") {
				add(word, word)
			}
		}
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/entry"}, "Env": []string{"PATH=/usr/bin:/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	made, err := (&image{config: config, blobs: map[string][]byte{}}).with(files)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func buildEntry(t testing.TB, bin string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": strings.Replace(postgresEntry, "BIN", bin+"/", 1), "go.mod": "module entry\n\ngo 1.24\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	Command{Args: []string{"go", "build", "-o", "entry", "."}, Dir: dir, Env: []string{"CGO_ENABLED=0", "GOWORK=off"}}.Run(t)
	b, err := os.ReadFile(filepath.Join(dir, "entry"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
