package env

import (
	"os"
	"path/filepath"
)

// SecretPath returns the path of the file that a secret is in: what NAME_FILE
// says, else the credential of it in
// $CREDENTIALS_DIRECTORY where there is one. It is "" where no file is given; the
// file is not looked into.
func (e *Environ) SecretPath(name string) string {
	if path := e.Get(name + "_FILE"); path != "" {
		return path
	}
	dir := e.Get("CREDENTIALS_DIRECTORY")
	if dir == "" || !variable(name) {
		return ""
	}
	for _, file := range credentialNames(name) {
		path := filepath.Join(dir, file)
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	return ""
}
