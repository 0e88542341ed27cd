package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sluice/internal/env"
	"sluice/proxy/seal"
)

// checkWeak warns of a master or salt key that can be guessed; strict, it is
// refused.
func checkWeak(r *report, at Pos, key string, secret env.Secret) {
	if secret == "" {
		return
	}
	why := seal.Weak(secret)
	switch {
	case why == "":
	case r.strict:
		r.errorf(at, key, "32 random characters or more, as openssl rand -hex 32 makes them", "%s", why)
	default:
		r.warnf(at, key, "%s: whoever guesses it has everything; docs/secrets.md says how to change it", why)
	}
}

// Exposed returns, sorted, the variables of the process environment that were
// read and hold a secret: what other processes of the same user, and whatever
// writes environments down, can see. Those of .env and the file are not among
// them.
func (f *File) Exposed() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(f.used)) {
		if env.SecretName(name) && holdsSecret(f.process.Get(name)) {
			out = append(out, name)
		}
	}
	return out
}

// Open says of each file that a secret was read from, and that other users of the
// machine can read or change, which it is and how to close it.
func (f *File) Open() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(f.used)) {
		path := f.Environ.SecretPath(name)
		if path == "" || f.process.Get(name) != "" {
			continue
		}
		out = appendOpen(out, name, path)
	}
	out = appendOpen(out, "--ssl_keyfile_path", f.Server.TLSKey)
	key := f.General.DatabaseParameters["sslkey"]
	if u, err := url.Parse(f.General.DatabaseURL.Reveal()); err == nil {
		key = cmp.Or(u.Query().Get("sslkey"), key)
	}
	out = appendOpen(out, "sslkey of PostgreSQL", key)
	if f.Router.RedisTLS {
		out = appendOpen(out, "ssl_keyfile of Redis", cmp.Or(f.Router.RedisKey, f.Router.RedisCert))
	}
	seen := map[string]bool{"": true}
	for _, d := range f.Models {
		path := cmp.Or(d.Params.SSLKey, d.Params.SSLCertificate, f.LiteLLM.SSLCertificate)
		if !seen[path] {
			seen[path] = true
			out = appendOpen(out, "ssl_certificate_key of "+d.Name, path)
		}
	}
	return out
}

// appendOpen appends what there is to say of one file. What cannot be looked at
// is said by whoever reads it.
func appendOpen(out []string, name, path string) []string {
	const others = 0o006
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&others != 0 {
		out = append(out, fmt.Sprintf("%s: its file %s has mode %04o, so that every user of this machine can read or change it: chmod o= %[2]s",
			name, path, info.Mode().Perm()))
	}
	return out
}

// holdsSecret reports whether the value of a variable with a telling name is a
// secret. A URL is one where it has a password.
func holdsSecret(text string) bool {
	if !strings.Contains(text, "://") {
		return text != ""
	}
	u, err := url.Parse(text)
	if err != nil {
		return true
	}
	_, password := u.User.Password()
	return password || u.Query().Has("password")
}

// ownFile reports whether what stands for a variable is a file that another
// setting names, such as the keyring among the credentials of systemd: whoever
// may write references into the database must not read it through one.
func (f *File) ownFile(name string) bool {
	path := f.Environ.SecretPath(name)
	if path == "" {
		return false
	}
	for _, other := range f.Environ.Names() {
		names := strings.HasSuffix(other, "_PATH") || strings.HasSuffix(other, "_FILE") && OwnVariable(other)
		if names && filepath.Clean(f.Environ.Get(other)) == filepath.Clean(path) {
			return true
		}
	}
	return false
}
