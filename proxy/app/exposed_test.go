package app

import "testing"

// TestContained: who else may read a secret's file depends on what the first
// process is.
func TestContained(t *testing.T) {
	for _, tt := range []struct {
		name         string
		parent       int
		space, first string
		want         bool
	}{
		{"a machine", 900, machineSpace, "systemd", false},
		{"a machine with another init", 900, machineSpace, "init", false},
		{"the supervisor is the first process", 1, "pid:[4026532000]", "supervisor", true},
		{"docker run --init", 7, "pid:[4026532000]", "docker-init", true},
		{"a pod that shares its processes", 14, "pid:[4026532000]", "pause", true},
		{"systemd in a container", 60, "pid:[4026532000]", "systemd", false},
	} {
		if got := contained(tt.parent, tt.space, tt.first); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
