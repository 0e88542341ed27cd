package app

import (
	"errors"
	"os"
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

// closed refuses secrets in files that every user of the machine can read. In a
// container nobody else is there, and orchestrators give such files the mode
// 0444.
func closed(file *config.File, contained bool) error {
	open := file.Open()
	if len(open) == 0 || contained {
		return nil
	}
	return boot.Exit(fleet.ExitConfig, errors.New(strings.Join(open, "; ")))
}

// machineSpace is the process namespace of the machine itself: the kernel gives
// it this number (PROC_PID_INIT_INO).
const machineSpace = "pid:[4026531836]"

// contained says whether this process runs in a container for the appliance
// alone: its parent, the supervisor, is the first process, or an init of the
// container engine or a pod's holder is. A container with systemd in it is run as
// a machine is.
func contained(parent int, space, first string) bool {
	return parent == 1 || space != machineSpace && first != "systemd"
}

// here is contained for this process.
func here() bool {
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		space = machineSpace
	}
	first, err := os.ReadFile("/proc/1/comm")
	if err != nil { // a unit of systemd hides it (ProtectProc=invisible), a container does not
		first = []byte("systemd")
	}
	return contained(os.Getppid(), space, strings.TrimSpace(string(first)))
}
