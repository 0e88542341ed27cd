package env

import "strings"

// harmless names what every child may have. It is closed: what is not named
// here or by prefix reaches a child through a memory file or not at all.
var harmless = map[string]bool{
	"PATH": true, "HOME": true, "TZ": true, "LANG": true, "TMPDIR": true,
	"SSL_CERT_FILE": true, "SSL_CERT_DIR": true,
	"GODEBUG": true, "GOTRACEBACK": true, "GOMAXPROCS": true, "GOMEMLIMIT": true,
}

// telling are the parts of a name that say that its value is a secret. URLs
// are among them: those of databases hold passwords.
var telling = []string{
	"KEY", "SECRET", "TOKEN", "PASS", "PWD", "CREDENTIAL", "SALT", "AUTH", "URL", "URI", "DSN", "COOKIE", "WEBHOOK", "PRIVATE",
	"IMPORT_FROM",
}

// SecretName reports whether the value of a variable or key of this name is to
// be treated as a secret. It errs on the side of secrecy.
func SecretName(name string) bool {
	upper := strings.ToUpper(name)
	for _, part := range telling {
		if strings.Contains(upper, part) {
			return true
		}
	}
	return false
}

// Scrubbed returns, sorted and as NAME=VALUE, only what every child may know:
// the search path, locale, certificates, settings of the Go runtime, and the
// SLUICE_ variables that are not secrets and hold no URL with a user.
func (e *Environ) Scrubbed() []string {
	var out []string
	for _, name := range e.Names() {
		ours := strings.HasPrefix(name, "SLUICE_") && !SecretName(name) && !withUser(e.vars[name])
		if harmless[name] || strings.HasPrefix(name, "LC_") || ours {
			out = append(out, name+"="+e.vars[name])
		}
	}
	return out
}

// withUser reports whether a text holds a URL with a user, and so maybe with a
// password.
func withUser(text string) bool {
	_, rest, ok := strings.Cut(text, "://")
	return ok && strings.Contains(rest, "@")
}
