package app

import (
	"errors"
	"strings"

	"sluice/internal/boot"
	"sluice/proxy/config"
	"sluice/supervisor/fleet"
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

// closed refuses secrets in files that every user of the machine can read. Where
// the supervisor, our parent, is the first process, it is in a container: nobody
// else is there, and orchestrators give such files the mode 0444.
func closed(file *config.File, parent int) error {
	open := file.Open()
	if len(open) == 0 || parent == 1 {
		return nil
	}
	return boot.Exit(fleet.ExitConfig, errors.New(strings.Join(open, "; ")))
}
