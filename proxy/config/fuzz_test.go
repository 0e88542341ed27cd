package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bomb is a small file that aliases make huge.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 10; i++ {
		prev := string(rune('0' + i - 1))
		b.WriteString("a" + string(rune('0'+i)) + ": &a" + string(rune('0'+i)) + " [" + strings.TrimSuffix(strings.Repeat("*a"+prev+", ", 10), ", ") + "]\n")
	}
	return b.String()
}

func TestBombs(t *testing.T) {
	for name, text := range map[string]string{
		"aliases":  bomb(),
		"merges":   "a: &a {x: 1}\nb: &b {<<: [*a, *a, *a]}\nc: {<<: [*b, *b]}\nd: {<<: 3}",
		"deep":     strings.Repeat("[", 5000),
		"deep map": strings.Repeat("{a: ", 500) + strings.Repeat("}", 500),
		"self":     "a: &a\n  b: *a\n",
		"texts":    "a: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.Repeat("*a, ", 200) + "*a]\n",
		"wide":     strings.Repeat("k: 1\n", 20000),
	} {
		start := time.Now()
		f, problems := loadText(t, text, environ())
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%s took %v", name, took)
		}
		if f != nil || len(problems) > maxProblems {
			t.Errorf("%s: loaded %v, %d problems", name, f != nil, len(problems))
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		paths, err := filepath.Glob("testdata/" + dir + "/*.yaml")
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(data))
		}
	}
	f.Add("a: &a [1]\nb: *a\n<<: *a")
	f.Add("general_settings: {master_key: '${A:-${B}}'}")
	f.Add("? {a: b}\n: c")
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		file, problems := loadText(t, text, environ("A=x", "A_SECRET=never-shown"))
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		if (file == nil) != problems.Failed() {
			t.Errorf("loaded %v with problems %v", file != nil, problems)
		}
		if strings.Contains(problems.String(), "never-shown") && !strings.Contains(text, "never-shown") {
			t.Errorf("a secret is shown: %s", problems)
		}
		if file != nil {
			_ = file.Masked()
		}
	})
}

func FuzzDotEnv(f *testing.F) {
	f.Add("export A=\"b\\n${C}\" # x\nC='d'\n\"\n=x")
	f.Fuzz(func(t *testing.T, text string) {
		r := newReport(false)
		dotEnv(r, environ("LITELLM_MODE=DEV"), "", func(string) ([]byte, error) { return []byte(text), nil })
		gunicornArgs(text)
	})
}
