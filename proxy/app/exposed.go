package app

import (
	"strings"

	"sluice/proxy/config"
)

// exposed is a warning of secrets in the environment, in one line; "" for none.
// It is said once, at the start.
func exposed(file *config.File) string {
	names := file.Exposed()
	if len(names) == 0 {
		return ""
	}
	return strings.Join(names, ", ") + ": secrets in the environment are shown to whoever may read /proc and to what writes environments down: " +
		"name files in " + names[0] + "_FILE and the like, or use LoadCredential of systemd; see docs/secrets.md"
}
