package env

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSecretPath(t *testing.T) {
	dir := t.TempDir()
	credential := filepath.Join(dir, "sluice_keyring")
	if err := os.WriteFile(credential, []byte("a:b"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		vars map[string]string
		want string
	}{
		"nothing":       {nil, ""},
		"variable":      {map[string]string{"SLUICE_KEYRING_FILE": "/a/b", "CREDENTIALS_DIRECTORY": dir}, "/a/b"},
		"credential":    {map[string]string{"CREDENTIALS_DIRECTORY": dir}, credential},
		"no credential": {map[string]string{"CREDENTIALS_DIRECTORY": t.TempDir()}, ""},
	} {
		if got := (*Environ)(nil).With(c.vars).SecretPath("SLUICE_KEYRING"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := (*Environ)(nil).With(map[string]string{"CREDENTIALS_DIRECTORY": dir}).SecretPath("../x"); got != "" {
		t.Errorf("out of the directory: %q", got)
	}
}
