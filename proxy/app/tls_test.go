package app

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/boot"
	"sluice/internal/certificate/certtest"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// TestPreflightTLS: what is wrong with a certificate is said before anything
// starts, and the supervisor learns of one that gunicorn's arguments name: it
// would take its listener for a plain one.
func TestPreflightTLS(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	a := certtest.New(t)
	a.Issue(t, 1, -time.Hour, time.Hour, at("cert"), at("key"))
	a.Issue(t, 2, -2*time.Hour, -time.Hour, at("old"), at("oldkey"))
	for _, c := range []struct {
		name, environ, says string
		refused             bool
	}{
		{"none", "", "", false},
		{"variables", "SSL_CERTFILE_PATH=" + at("cert") + "\x00SSL_KEYFILE_PATH=" + at("key"), "", false},
		{"gunicorn", "GUNICORN_CMD_ARGS=--certfile " + at("cert") + " --keyfile=" + at("key"), "", false},
		{"expired", "SSL_CERTFILE_PATH=" + at("old") + "\x00SSL_KEYFILE_PATH=" + at("oldkey"), "warning: TLS certificate " + at("old") + " has expired on", false},
		{"another key", "SSL_CERTFILE_PATH=" + at("cert") + "\x00SSL_KEYFILE_PATH=" + at("oldkey"), "the key that it was made for", true},
		{"no file", "SSL_CERTFILE_PATH=" + at("none") + "\x00SSL_KEYFILE_PATH=" + at("key"), "there is no file", true},
		{"clients without TLS", "SSL_CLIENT_CA_PATH=" + at("cert"), "clients cannot show certificates without TLS", true},
		{"clients of nobody", "SSL_CERTFILE_PATH=" + at("cert") + "\x00SSL_KEYFILE_PATH=" + at("key") + "\x00SSL_CLIENT_CA_PATH=" + at("key"), "holds no certificate", true},
	} {
		var out, said bytes.Buffer
		p := &boot.Process{Program: "proxy", Stdin: new(io.LimitedReader), Stdout: &out, Stderr: &said, Environ: env.Parse([]byte(c.environ))}
		err := preflight(p)
		if err != nil {
			said.WriteString(err.Error())
		}
		var exit *boot.ExitError
		if (err != nil) != c.refused || err != nil && (!errors.As(err, &exit) || exit.Code != fleet.ExitConfig) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.says == "" && strings.Contains(said.String(), "TLS") || !strings.Contains(said.String(), c.says) {
			t.Errorf("%s: says %q, want %q", c.name, said.String(), c.says)
		}
		if c.name != "variables" && c.name != "gunicorn" {
			continue
		}
		full := env.Parse(out.Bytes())
		if full.Get("SSL_CERTFILE_PATH") != at("cert") || full.Get("SSL_KEYFILE_PATH") != at("key") {
			t.Errorf("%s: the supervisor is told %q and %q", c.name, full.Get("SSL_CERTFILE_PATH"), full.Get("SSL_KEYFILE_PATH"))
		}
	}
}

// TestPreflightProviderFiles: files of a deployment that a worker could not
// start with are said before anything starts.
func TestPreflightProviderFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.yaml")
	for line, want := range map[string]string{
		"ssl_verify: " + filepath.Join(dir, "none"):      "model_list[0].litellm_params: read the CA bundle",
		"ssl_verify: " + path:                            "holds no certificate: correct the path, or the file",
		"ssl_certificate: " + filepath.Join(dir, "none"): "read the client certificate",
		"ssl_verify: true":                               "",
	} {
		text := "model_list:\n  - model_name: m\n    litellm_params: {model: openai/m, api_key: sk-x, api_base: 'https://localhost/v1', '" +
			strings.Replace(line, ": ", "': '", 1) + "'}\n"
		if line == "ssl_verify: true" {
			text = strings.Replace(text, "'true'", "true", 1)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		err := preflight(&boot.Process{Program: "proxy", Stdin: new(io.LimitedReader), Stdout: io.Discard, Stderr: &said, Environ: env.Parse([]byte("CONFIG_FILE_PATH=" + path))})
		if (err != nil) != (want != "") || !strings.Contains(said.String(), want) {
			t.Errorf("%s: %v, says %q", line, err, said.String())
		}
	}
}
