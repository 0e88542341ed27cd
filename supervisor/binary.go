package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ownPath is the path of the program that runs, as it was called: an upgrade
// that renames the old file away or turns a link to another folder is found
// there, where the kernel would still name the old one. Only a name that does
// not lead to this program gives way to the kernel's.
func ownPath() (string, error) {
	kernel, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own binary: %w", err)
	}
	if called, ok := calledPath(); ok {
		return called, nil
	}
	return strings.TrimSuffix(kernel, " (deleted)"), nil
}

// calledPath is the name that we were called by, if it leads to us.
func calledPath() (string, bool) {
	called, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", false
	}
	if called, err = filepath.Abs(called); err != nil {
		return "", false
	}
	ours, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", false
	}
	theirs, err := os.Stat(called)
	return called, err == nil && os.SameFile(ours, theirs)
}

// beside finds a program in the folder of self, or of what self is a link to.
// It is looked up at each start, because an upgrade replaces the file.
func beside(self, program string) (string, error) {
	name := program
	if strings.HasPrefix(filepath.Base(self), "sluice-") {
		name = "sluice-" + program
	}
	path := filepath.Join(filepath.Dir(self), name)
	_, err := os.Stat(path)
	if err == nil {
		return path, nil
	}
	if target, linkErr := filepath.EvalSymlinks(self); linkErr == nil {
		path := filepath.Join(filepath.Dir(target), name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s beside the supervisor: %w", program, err)
}
