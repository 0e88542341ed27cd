package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/env"
)

// environ makes an environment that reads no .env.
func environ(pairs ...string) *env.Environ {
	return env.Parse([]byte(strings.Join(append([]string{"LITELLM_MODE=PRODUCTION"}, pairs...), "\x00")))
}

// loadText loads one file that is given as text.
func loadText(t testing.TB, text string, e *env.Environ) (*File, Problems) {
	t.Helper()
	return Load(Source{
		Flags: Flags{Config: "config.yaml"}, Environ: e,
		ReadFile: func(path string) ([]byte, error) {
			if path == "config.yaml" {
				return []byte(text), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	})
}

// must loads a file that has to be good.
func must(t testing.TB, text string, e *env.Environ) *File {
	t.Helper()
	f, problems := loadText(t, text, e)
	if f == nil {
		t.Fatalf("not loaded:\n%s", problems)
	}
	return f
}

func TestProductionPage(t *testing.T) {
	e := environ("REDIS_HOST=redis.local", "REDIS_PORT=6380", "REDIS_PASSWORD=hunter2", "LITELLM_LOG=ERROR", "MAX_REQUESTS_BEFORE_RESTART=10000", "NUM_WORKERS=$(nproc)")
	data, err := os.ReadFile("testdata/good/production.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, problems := loadText(t, string(data), e)
	if got := problems.Of(Warning); len(problems.Of(Error)) != 0 || len(got) != 1 || !strings.Contains(got[0].Text, "is a published example") {
		t.Fatalf("problems:\n%s", problems)
	}
	if len(f.Models) != 1 || f.Models[0].Name != "fake-openai-endpoint" || f.Models[0].Params.APIKey.Reveal() != "fake-key" {
		t.Errorf("models: %+v", f.Models)
	}
	if f.General.MasterKey.Reveal() != "sk-1234" || !f.General.AllowRequestsOnDBDown || f.General.DatabasePoolLimit != 10 {
		t.Errorf("general settings: %+v", f.General)
	}
	if f.LiteLLM.RequestTimeout != 600*time.Second || !f.LiteLLM.JSONLogs || f.LiteLLM.SetVerbose {
		t.Errorf("litellm settings: %+v", f.LiteLLM)
	}
	if f.Router.RedisHost != "redis.local" || f.Router.RedisPort != 6380 || f.Router.RedisPassword.Reveal() != "hunter2" {
		t.Errorf("router settings: %+v", f.Router)
	}
	if f.Server.Workers != 0 || f.Server.MaxRequests != 10000 || f.Server.LogLevel.String() != "ERROR" || !f.Server.JSONLogs {
		t.Errorf("server: %+v", f.Server)
	}
	if masked := f.Masked(); strings.Contains(masked, "hunter2") || strings.Contains(masked, "sk-1234") || strings.Contains(masked, "fake-key") {
		t.Errorf("secrets are shown:\n%s", masked)
	}
}

// strongKey is a master key that nothing is wrong with.
const strongKey = "sk-9fK2mPq7Xw4Zr8Tb1Vn6Hc3Yd5Gs0LjA"

// TestGood loads every file of testdata/good without an error or warning, once
// its example of a master key is one of its own.
func TestGood(t *testing.T) {
	paths, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(paths) < 3 {
		t.Fatalf("corpus: %q, %v", paths, err)
	}
	e := environ("REDIS_HOST=h", "REDIS_PORT=1", "REDIS_PASSWORD=p", "UP_KEY=u", "OPENAI_API_KEY=o", "PROXY_MASTER_KEY="+strongKey)
	examples := strings.NewReplacer("sk-1234567890abcdef", strongKey, "sk-1234", strongKey)
	read := func(path string) ([]byte, error) {
		data, err := os.ReadFile(path)
		return []byte(examples.Replace(string(data))), err
	}
	for _, path := range append(paths, "../../docs/config.example.yaml") {
		f, problems := Load(Source{Flags: Flags{Config: path, Strict: true}, Environ: e, ReadFile: read})
		if f == nil || len(problems.Of(Warning)) > 0 {
			t.Errorf("%s:\n%s", path, problems)
		}
	}
}

func TestNothingConfigured(t *testing.T) {
	providers := []Provider{{"openai", []string{"OPENAI_API_KEY"}}, {"anthropic", []string{"A", "ANTHROPIC_API_KEY"}}, {"groq", []string{"GROQ_API_KEY"}}}
	f, problems := Load(Source{Environ: environ("OPENAI_API_KEY=sk-o", "ANTHROPIC_API_KEY=sk-a"), Providers: providers})
	if f == nil || len(problems) > 0 {
		t.Fatalf("problems:\n%s", problems)
	}
	got := map[string]string{}
	for _, d := range f.Models {
		got[d.Name] = d.Params.APIKey.Reveal()
	}
	if len(got) != 3 || got["openai/*"] != "sk-o" || got["anthropic/*"] != "sk-a" || f.Models[0].Name != "demo" || f.Models[0].Params.MockResponse == nil {
		t.Errorf("models: %v", got)
	}
	if f.Path != "" || f.General.MasterKey != "" || f.LiteLLM.RequestTimeout != 600*time.Second || f.Server.Port != 4000 || f.Server.Host != "0.0.0.0" || f.Server.KeepAlive != 2*time.Minute || f.Retries(f.Models[0]) != 2 {
		t.Errorf("defaults: %+v %+v", f.General, f.Server)
	}
	f = must(t, "model_list: []", environ("OPENAI_API_KEY=sk-o"))
	if len(f.Models) != 0 {
		t.Errorf("a file without models has %d", len(f.Models))
	}
}

func TestPrecedence(t *testing.T) {
	str := func(s string) *string { return &s }
	tests := []struct {
		name  string
		flags Flags
		env   []string
		check func(f *File) bool
	}{
		{"gunicorn", Flags{}, []string{"GUNICORN_CMD_ARGS=--bind [::]:8000 --keep-alive=75 --max-requests 500 --max-requests-jitter 50 -w 3 --graceful-timeout 90"}, func(f *File) bool {
			s := f.Server
			return s.Host == "::" && s.Port == 8000 && s.KeepAlive == 75*time.Second && s.MaxRequests == 500 && s.MaxRequestsSlack == 50 && s.Workers == 3 && s.StopWait == 90*time.Second
		}},
		{"environment over gunicorn", Flags{}, []string{"GUNICORN_CMD_ARGS=--bind 1.2.3.4:8000 -w 3", "PORT=5000", "NUM_WORKERS=2"}, func(f *File) bool {
			return f.Server.Port == 5000 && f.Server.Host == "1.2.3.4" && f.Server.Workers == 2
		}},
		{"flag over environment", Flags{Port: str("6000"), NumWorkers: str("auto"), KeepaliveTimeout: str("7")}, []string{"PORT=5000", "NUM_WORKERS=2"}, func(f *File) bool {
			return f.Server.Port == 6000 && f.Server.Workers == 0 && f.Server.KeepAlive == 7*time.Second
		}},
		{"unix socket", Flags{}, []string{"GUNICORN_CMD_ARGS=--bind=unix:/run/x.sock"}, func(f *File) bool { return f.Server.Host == "unix:/run/x.sock" }},
		{"flag over file", Flags{RequestTimeout: str("33")}, nil, func(f *File) bool { return f.LiteLLM.RequestTimeout == 33*time.Second }},
		{"file over environment", Flags{}, []string{"REQUEST_TIMEOUT=1", "LITELLM_MASTER_KEY=sk-env", "DATABASE_URL=postgres://env/x"}, func(f *File) bool {
			return f.LiteLLM.RequestTimeout == 44*time.Second && f.General.MasterKey == "sk-file" && f.General.DatabaseURL == "postgresql://env/x"
		}},
		{"limit of requests at once", Flags{}, []string{"LIMIT_CONCURRENCY=7"}, func(f *File) bool { return f.Server.LimitConcurrency == 7 }},
		{"root path and origins", Flags{}, []string{"SERVER_ROOT_PATH=/a/b/", "LITELLM_CORS_ORIGINS=https://x, https://y"}, func(f *File) bool {
			return f.Server.RootPath == "/a/b" && len(f.Server.CORSOrigins) == 2
		}},
		{"debug", Flags{DetailedDebug: true}, []string{"LITELLM_LOG=ERROR"}, func(f *File) bool { return f.Server.LogLevel.String() == "DEBUG" }},
		{"model flag", Flags{Model: "openai/gpt-4o", Alias: "mine", Headers: `{"x-a":"b"}`}, nil, func(f *File) bool {
			return f.Models[0].Name == "mine" && f.General.CompletionModel == "mine" && f.Models[0].Params.ExtraHeaders[0].Value == "b"
		}},
	}
	const text = "litellm_settings: {request_timeout: 44}\ngeneral_settings: {master_key: sk-file, database_url: 'postgresql+asyncpg://env/x'}"
	for _, tt := range tests {
		tt.flags.Config = "c.yaml"
		f, problems := Load(Source{Flags: tt.flags, Environ: environ(tt.env...), ReadFile: func(string) ([]byte, error) { return []byte(text), nil }})
		if f == nil {
			t.Errorf("%s: %s", tt.name, problems)
		} else if !tt.check(f) {
			t.Errorf("%s: server %+v, general %+v", tt.name, f.Server, f.General)
		}
	}
}

func TestSecretForms(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	if err := os.WriteFile(path, []byte("sk-from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := must(t, "", environ("LITELLM_MASTER_KEY_FILE="+path, "DATABASE_HOST=db", "DATABASE_USER=u", "DATABASE_PASSWORD=p@w", "DATABASE_NAME=n", "DATABASE_PORT=5433"))
	if f.General.MasterKey != "sk-from-file" || f.General.DatabaseURL != "postgresql://u:p%40w@db:5433/n" {
		t.Errorf("key %q, database %q", f.General.MasterKey.Reveal(), f.General.DatabaseURL.Reveal())
	}
	for _, pairs := range []string{"LITELLM_MASTER_KEY_FILE=" + path + "x", "LITELLM_MASTER_KEY=no-prefix", "LITELLM_MASTER_KEY=sk-with blank"} {
		if f, problems := loadText(t, "", environ(pairs)); f != nil || strings.Contains(problems.String(), "no-prefix") {
			t.Errorf("%s: loaded %v, %s", pairs, f != nil, problems)
		}
	}
}

func TestDotEnv(t *testing.T) {
	dir := t.TempDir()
	text := "# comment\nexport A=one # tail\nB=\"two\\nlines ${A}\"\nC='${A}'\nLITELLM_MASTER_KEY=" + strongKey + "\n\nOWN=file\nMULTI=\"x\ny\"\nbroken line\n"
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, problems := Load(Source{Environ: env.Parse([]byte("OWN=process")), Dir: dir})
	if f == nil {
		t.Fatal(problems)
	}
	for name, want := range map[string]string{"A": "one", "B": "two\nlines one", "C": "${A}", "OWN": "process", "MULTI": "x\ny"} {
		if got := f.Environ.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if f.General.MasterKey != strongKey {
		t.Error("the master key of .env is not taken")
	}
	if len(problems) != 1 || problems[0].At.Line != 10 {
		t.Errorf("problems: %v", problems)
	}
	f, _ = Load(Source{Environ: env.Parse([]byte("LITELLM_MODE=production")), Dir: dir})
	if f.Environ.Get("A") != "" {
		t.Error(".env is read in production mode")
	}
}

func TestErr(t *testing.T) {
	_, problems := loadText(t, "general_settings: {master_key: abc}\nnonsense: 1", environ())
	err := problems.Err()
	if err == nil || !strings.Contains(err.Error(), "config.yaml:1: general_settings.master_key: does not begin with sk-; allowed: ") {
		t.Errorf("Err = %v", err)
	}
	if (Problems{{Severity: Warning}}).Err() != nil {
		t.Error("a warning is an error")
	}
	_, problems = Load(Source{Flags: Flags{Config: "/none/c.yaml"}, Environ: environ(), ReadFile: func(p string) ([]byte, error) {
		return nil, &fs.PathError{Op: "open", Path: p, Err: errors.New("gone")}
	}})
	if !problems.Failed() || !strings.Contains(problems.String(), "/none/c.yaml: cannot read /none/c.yaml: gone") {
		t.Errorf("problems: %s", problems)
	}
}
