package boot

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

// withSecrets is a command line with secrets at both levels.
type withSecrets struct {
	URL string `name:"url" short:"u" secret:"set URL_FILE" help:"x"`
	Dir string `name:"dir" help:"x"`
	Do  struct {
		Key string `name:"key" secret:"set KEY_FILE" help:"x"`
	} `cmd:"" default:"withargs" help:"x"`
	Other struct {
		Key string `name:"key" help:"x"`
	} `cmd:"" help:"x"`
}

// TestSecretsLeaveTheListing: what is given on the command line is used and not
// shown by the kernel any more.
func TestSecretsLeaveTheListing(t *testing.T) {
	if isChild() {
		var stderr bytes.Buffer
		at := slices.Index(os.Args, "--")
		all := arguments()
		p := &Process{Program: "test", Args: all, Stdout: &stderr, Stderr: &stderr}
		p.Args = all[at:] // behind what is for the test itself
		os.Args = append(os.Args[:1:1], os.Args[at+1:]...)
		var c withSecrets
		if _, _, err := p.Parse(&c, "test"); err != nil {
			t.Fatal(err)
		}
		if c.URL != "postgres://u:canary@h/d" || c.Do.Key != "sk-canary" || c.Dir != "d" {
			t.Errorf("parsed %+v", c)
		}
		if want := []string{"--dir=d", "do"}; !slices.Equal(p.Public, want) {
			t.Errorf("public %q, want %q", p.Public, want)
		}
		line, err := os.ReadFile("/proc/self/cmdline")
		if err != nil || bytes.Contains(line, []byte("canary")) || !bytes.Contains(line, []byte("--dir=d")) {
			t.Errorf("listed as %q, %v", line, err)
		}
		said := stderr.String()
		if strings.Count(said, "\n") != 1 || strings.Contains(said, "canary") || !strings.Contains(said, "instead of --url, --key, set URL_FILE, set KEY_FILE") {
			t.Errorf("said %q", said)
		}
		return
	}
	if out, err := again(t, "TestSecretsLeaveTheListing", "A=1", "--url=postgres://u:canary@h/d", "--dir=d", "do", "--key", "sk-canary"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestSecretFlagsOfTheCommand: a flag of another command is no secret for having
// the name of one.
func TestSecretFlagsOfTheCommand(t *testing.T) {
	for line, want := range map[string]string{
		"other --key=plain --url=s":  "other --key=plain",
		"--url=s other --key plain":  "other --key plain",
		"do --key s --dir d":         "do --dir d",
		"--key=s --dir=d":            "--dir=d",
		"--dir d --url s -us other":  "--dir d other",
		"--dir d --url s -u s other": "--dir d other",
	} {
		var stderr bytes.Buffer
		p := &Process{Program: "test", Args: strings.Fields(line), Stdout: &stderr, Stderr: &stderr}
		var c withSecrets
		if _, _, err := p.Parse(&c, "test"); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if got := strings.Join(p.Public, " "); got != want {
			t.Errorf("%q: public %q, want %q", line, got, want)
		}
	}
}

func TestSecretArguments(t *testing.T) {
	secret := map[string]string{"--url": "a", "-u": "a", "--key": "b"}
	for line, want := range map[string][]secretArgument{
		"":                        nil,
		"--urls=x --dir --key2 x": nil,
		"--url=x --url y":         {{0, 6, "--url"}, {2, 0, "--url"}},
		"--key":                   nil,
		"-ux -u x":                {{0, 2, "-u"}, {2, 0, "-u"}},
		"-- --url=x":              nil,
		"--url --key=x":           {{1, 0, "--url"}},
		"--url=":                  {{0, 6, "--url"}},
	} {
		if got := secretArguments(strings.Fields(line), secret); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}
