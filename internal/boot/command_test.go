package boot

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// line is a command line with everything that one may have.
type line struct {
	Wait time.Duration `name:"wait" default:"60s" help:"How long."`
	shared
	Run struct {
		Config string   `name:"config" short:"c" placeholder:"FILE" help:"Configuration."`
		Listen []string `name:"listen" help:"Repeatable."`
		Strict bool     `name:"strict" short:"s" help:"Strict."`
		Debug  bool     `name:"debug" short:"d" hidden:"" help:"Never shown."`
		Number int      `help:"Named after its field."`
		Port   *string  `name:"port" help:"Nil where it is not given."`
		Heat   *float64 `name:"heat" help:"A number."`
		Most   *int     `name:"most" help:"A whole number."`
	} `cmd:"" default:"withargs" help:"Run it."`
	Keys struct {
		Show   struct{} `cmd:"" default:"1" help:"Show them."`
		Retire struct {
			ID string `arg:"" help:"Which."`
		} `cmd:"" help:"Retire one."`
	} `cmd:"" help:"Look after keys."`
	Dump struct {
		Format  string   `name:"format" enum:"csv,jsonl" default:"csv" help:"How."`
		From    string   `name:"from" required:"" placeholder:"DATE" help:"Since."`
		Segment []string `arg:"" optional:"" help:"Which."`
	} `cmd:"" help:"Print."`
	Hidden struct{} `cmd:"" hidden:"" help:"Never shown."`
}

type shared struct {
	StateDir string `placeholder:"DIR" help:"State."`
}

func TestCommandLines(t *testing.T) {
	parsed := func(text string) (*line, string, error) {
		var l line
		p := &Process{Program: "test", Args: strings.Fields(text), Stdout: io.Discard, Stderr: io.Discard}
		c, _, err := p.Parse(&l, "A test.")
		if err != nil {
			return &l, "", err
		}
		return &l, c.Command(), nil
	}
	for _, c := range []struct {
		line, command string
		holds         func(*line) bool
	}{
		{"", "run", func(l *line) bool { return l.Wait == time.Minute && l.Dump.Format == "csv" }},
		{"--config a --listen x=1 --listen=y,z -s", "run", func(l *line) bool {
			return l.Run.Config == "a" && slices.Equal(l.Run.Listen, []string{"x=1", "y,z"}) && l.Run.Strict
		}},
		{"-ca -sd --wait 5s", "run", func(l *line) bool {
			return l.Run.Config == "a" && l.Run.Strict && l.Run.Debug && l.Wait == 5*time.Second
		}},
		{"-c=a -c b", "run", func(l *line) bool { return l.Run.Config == "b" }},
		{"run --strict=false --state-dir= --number -3", "run", func(l *line) bool { return !l.Run.Strict && l.StateDir == "" && l.Run.Number == -3 }},
		{"--state-dir /s keys", "keys show", func(l *line) bool { return l.StateDir == "/s" }},
		{"keys retire abc --state-dir /s", "keys retire <id>", func(l *line) bool { return l.Keys.Retire.ID == "abc" && l.StateDir == "/s" }},
		{"keys retire -- --abc", "keys retire <id>", func(l *line) bool { return l.Keys.Retire.ID == "--abc" }},
		{"dump --from x --format jsonl", "dump", func(l *line) bool { return l.Dump.Format == "jsonl" }},
		{"dump --from x a - b", "dump <segment>", func(l *line) bool { return slices.Equal(l.Dump.Segment, []string{"a", "-", "b"}) }},
		{"hidden", "hidden", func(*line) bool { return true }},
		{"--strict run -c a", "run", func(l *line) bool { return l.Run.Strict && l.Run.Config == "a" }},
		{"-- hidden", "hidden", func(*line) bool { return true }},
		{"--port 0 --heat=0.5 --most 0x10 --strict=Yes", "run", func(l *line) bool {
			return *l.Run.Port == "0" && *l.Run.Heat == 0.5 && *l.Run.Most == 16 && l.Run.Strict
		}},
		{"run", "run", func(l *line) bool { return l.Run.Port == nil && l.Run.Heat == nil && l.Run.Most == nil }},
	} {
		if l, command, err := parsed(c.line); err != nil || command != c.command || !c.holds(l) {
			t.Errorf("%q: command %q, %v, %+v", c.line, command, err, l)
		}
	}
	for text, want := range map[string]string{
		"--confg a":                     "unknown flag --confg",
		"--statedir /s":                 "did you mean --state-dir?",
		"-x":                            "unknown flag -x",
		"--config":                      "--config: a value is missing",
		"--config --listen=secret":      "a value is missing before --listen;",
		"--wait soon":                   `--wait: "soon" is no duration`,
		"--number x":                    `"x" is no whole number`,
		"--strict=perhaps":              "neither true nor false",
		"--heat warm":                   `"warm" is no number`,
		"--strict dump":                 `"dump" comes after flags of "run"`,
		"nonsense":                      `unexpected argument "nonsense"`,
		"keys nonsense":                 `expected one of "show", "retire"`,
		"keys show --config a":          "unknown flag --config",
		"keys retire":                   "missing argument <id>",
		"keys retire a b":               `unexpected argument "b"`,
		"dump":                          "missing flag --from=DATE",
		"dump --from x --format=sqlite": `"sqlite" is not one of csv, jsonl`,
	} {
		_, _, err := parsed(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestDescribe: a field that no flag can be is told at every start, not when
// somebody gives the flag.
func TestDescribe(t *testing.T) {
	for _, cli := range []any{&struct{ Size uint8 }{}, &struct{ On *bool }{}, &struct{ Sizes []int }{}} {
		p := &Process{Program: "test", Stdout: io.Discard, Stderr: io.Discard}
		if _, _, err := p.Parse(cli, "A test."); err == nil || !strings.Contains(err.Error(), "no flag can be a") {
			t.Errorf("%T: %v", cli, err)
		}
	}
}

// TestHelp: what can be given is shown with its command, what is hidden is not.
func TestHelp(t *testing.T) {
	help := func(text string) string {
		var l line
		var out strings.Builder
		p := &Process{Program: "test", Args: strings.Fields(text), Stdout: &out, Stderr: io.Discard}
		if _, done, err := p.Parse(&l, "A test."); err != nil || !done {
			t.Fatalf("%q: done %v, %v", text, done, err)
		}
		return out.String()
	}
	for text, want := range map[string][]string{
		"--help":      {"Usage: test [<command>] [flags]", "A test.", "-c, --config=FILE", "--wait=60s", "--state-dir=DIR", "keys", "Look after keys."},
		"-h":          {"Usage: test"},
		"keys --help": {"Usage: test keys [<command>] [flags]", "Look after keys.", "retire", "--wait=60s"},
		"dump --help": {"Usage: test dump [<segment>] [flags]", "<segment>", "--from=DATE", "--format=csv"},
	} {
		got := help(text)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%q does not say %q:\n%s", text, w, got)
			}
		}
		if strings.Contains(got, "Never shown") || strings.Contains(got, "\t") {
			t.Errorf("%q shows what is hidden:\n%s", text, got)
		}
		for l := range strings.Lines(got) {
			if len(l) > 101 {
				t.Errorf("%q: a line of %d bytes", text, len(l))
			}
		}
	}
}
