package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/internal/env"
)

// TestWeakKeys: a master or salt key that can be guessed is a warning, and an
// error when strict. Neither shows it.
func TestWeakKeys(t *testing.T) {
	for name, c := range map[string]struct {
		text, variable string
		where          string // the start of the problem; "" for none
	}{
		"file":        {"general_settings: {master_key: sk-1234}", "", "config.yaml:1: general_settings.master_key: is a published example"},
		"environment": {"", "LITELLM_MASTER_KEY=sk-qX9vT2", "LITELLM_MASTER_KEY: has fewer than 32 characters"},
		"salt":        {"", "LITELLM_SALT_KEY=" + strings.Repeat("abc", 20), "LITELLM_SALT_KEY: is too regular"},
		"good":        {"", "LITELLM_MASTER_KEY=" + strongKey, ""},
	} {
		for _, strict := range []bool{false, true} {
			read := func(path string) ([]byte, error) {
				if filepath.Base(path) == "config.yaml" {
					return []byte(c.text), nil
				}
				return nil, os.ErrNotExist
			}
			f, problems := Load(Source{Flags: Flags{Config: "config.yaml", Strict: strict}, Environ: environ(c.variable), ReadFile: read})
			if c.where == "" {
				if f == nil || len(problems) > 0 {
					t.Errorf("%s: %s", name, problems)
				}
				continue
			}
			want := map[bool]Severity{false: Warning, true: Error}[strict]
			got := problems.Of(want)
			if len(got) != 1 || !strings.HasPrefix(got[0].String(), c.where) || strings.Contains(got[0].String(), "sk-1234") || (f == nil) != strict {
				t.Errorf("%s, strict %v: %s", name, strict, problems)
			}
		}
	}
}

// TestExposed: only what the process environment itself holds is named.
func TestExposed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	for name, text := range map[string]string{"key": strongKey + "\n", "azure_key": "sk-of-a-credential", ".env": "DOT_KEY=sk-dot\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const text = `model_list:
- {model_name: a, litellm_params: {model: openai/a, api_key: os.environ/A_KEY}}
- {model_name: b, litellm_params: {model: openai/b, api_key: os.environ/B_KEY}}
- {model_name: c, litellm_params: {model: openai/c, api_key: os.environ/AZURE_KEY, api_base: os.environ/BASE_OF_C}}
- {model_name: d, litellm_params: {model: openai/d, api_key: "${DOT_KEY}"}}
general_settings: {database_url: os.environ/DATABASE_URL}
`
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(more ...string) *File {
		vars := strings.Join(append(more, "A_KEY=sk-a", "B_KEY_FILE="+path, "BASE_OF_C=https://c.example/v1", "CREDENTIALS_DIRECTORY="+dir, "UNUSED_KEY=x"), "\x00")
		f, problems := Load(Source{Flags: Flags{Config: "config.yaml"}, Environ: env.Parse([]byte(vars)), Dir: dir})
		if f == nil {
			t.Fatal(problems)
		}
		return f
	}
	f := load("DATABASE_URL=postgres://h/d", "LITELLM_MASTER_KEY_FILE="+path)
	if got := f.Exposed(); !slices.Equal(got, []string{"A_KEY"}) {
		t.Errorf("exposed: %q", got)
	}
	for i, want := range []string{"sk-a", strongKey, "sk-of-a-credential", "sk-dot"} {
		if got := f.Models[i].Params.APIKey.Reveal(); got != want {
			t.Errorf("model %d has the key %q, want %q", i, got, want)
		}
	}
	f = load("DATABASE_URL=postgres://u:p@h/d", "LITELLM_MASTER_KEY="+strongKey, "LITELLM_SALT_KEY="+strongKey)
	if got, want := f.Exposed(), []string{"A_KEY", "DATABASE_URL", "LITELLM_MASTER_KEY", "LITELLM_SALT_KEY"}; !slices.Equal(got, want) {
		t.Errorf("exposed: %q, want %q", got, want)
	}
}

// TestOwnFiles: a reference in the database does not reach files that are for
// something else, nor out of the directory of the credentials.
func TestOwnFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"keyring", "tls_key", "openai_api_key", "config"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("content of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := &File{Environ: environ("CREDENTIALS_DIRECTORY="+dir, "SLUICE_KEYRING_FILE="+dir+"/keyring", "SSL_KEYFILE_PATH="+dir+"/./tls_key",
		"CONFIG_FILE_PATH="+dir+"/config", "SOME_KEY_FILE="+dir+"/openai_api_key", "SLY_FILE="+dir+"/keyring")}
	for name, want := range map[string]string{
		"OPENAI_API_KEY": "content of openai_api_key", "SOME_KEY": "content of openai_api_key", "KEYRING": "", "keyring": "", "SLY": "", "TLS_KEY": "", "CONFIG": "",
		"../" + filepath.Base(dir) + "/keyring": "", "SLUICE_KEYRING": "", "": "",
	} {
		v := &value{is: text, text: reference + name}
		if f.refer(v); v.text != want {
			t.Errorf("%s is read as %q", name, v.text)
		}
	}
}

// TestOpenKeys: keys of TLS are secrets too.
func TestOpenKeys(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	closed, open := write("closed", 0o640), write("open", 0o644)
	deployment := func(p Params) *Deployment { return &Deployment{Name: "m", Params: p} }
	for want, f := range map[string]*File{
		"--ssl_keyfile_path: its file":               {Server: Server{TLSCert: open, TLSKey: open}},
		"sslkey of PostgreSQL: its file":             {General: General{Connection: Connection{DatabaseURL: env.Secret("postgresql://u@h/d?sslmode=verify-full&sslkey=" + open)}}},
		"sslkey of PostgreSQL: its file " + open:     {General: General{Connection: Connection{DatabaseParameters: map[string]string{"sslkey": open}}}},
		"ssl_keyfile of Redis: its file":             {Router: Router{Redis: Redis{RedisTLS: true, RedisCert: open}}},
		"ssl_certificate_key of m: its file":         {Models: []*Deployment{deployment(Params{SSLCertificate: open, SSLKey: open}), deployment(Params{SSLKey: open})}},
		"ssl_certificate_key of m: its file " + open: {LiteLLM: LiteLLM{SSLCertificate: open}, Models: []*Deployment{deployment(Params{})}},
		"": {
			Server: Server{TLSCert: open, TLSKey: closed}, Router: Router{Redis: Redis{RedisTLS: true, RedisCert: open, RedisKey: closed}},
			Models: []*Deployment{deployment(Params{SSLCertificate: open, SSLKey: closed}), deployment(Params{})},
		},
	} {
		got := f.Open()
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)) {
			t.Errorf("%q, want one that begins with %q", got, want)
		}
	}
}

// TestMasterKeyReference: a master key that is named and missing is not made up.
func TestMasterKeyReference(t *testing.T) {
	for _, text := range []string{"os.environ/THE_KEY", "${THE_KEY}"} {
		const missing = "general_settings.master_key: the environment variable THE_KEY is not set; allowed: THE_KEY set, or THE_KEY_FILE"
		text = "general_settings: {master_key: '" + text + "'}"
		if f, problems := loadText(t, text, environ()); f != nil || !strings.Contains(problems.Err().Error(), missing) {
			t.Errorf("%s: %v", text, problems)
		}
		for _, given := range []string{"THE_KEY", "LITELLM_MASTER_KEY"} {
			if f, problems := loadText(t, text, environ(given+"=sk-given")); f == nil || f.General.MasterKey != "sk-given" {
				t.Errorf("%s with %s: %v", text, given, problems)
			}
		}
	}
}
