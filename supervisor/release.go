package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sluice/supervisor/fleet"
)

// Links in the root of the releases. Each names a folder beside it and is
// turned by a rename, so that whoever looks finds one version or the other.
const (
	linkNext    = "next"    // brought by a package, tried by nobody yet
	linkCurrent = "current" // runs, and is started
	linkProven  = "proven"  // was ready for the whole of a trial: the way back
)

// programs are what a release consists of.
var programs = [...]string{"supervisor", "proxy", "healthd", "migrator"}

// releases is a folder of releases: ROOT/VERSION/PROGRAM, the version as the
// programs tell it in ROOT/VERSION/version, and the links above. What the
// package manager owns lies in ROOT/package and is linked from there: an upgrade
// of the package neither takes away nor overwrites what runs.
type releases struct{ root string }

// folder is the name of the folder that a link leads to, "" for no link.
func (r releases) folder(link string) (string, error) {
	target, err := os.Readlink(filepath.Join(r.root, link))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look where %s leads: %w", link, err)
	}
	name := filepath.Base(target)
	if name != target || name == "." || name == ".." {
		return "", fmt.Errorf("link %s leads to %s: a folder beside it is needed", filepath.Join(r.root, link), target)
	}
	return name, nil
}

// version is what the programs of a folder call themselves.
func (r releases) version(folder string) string {
	b, err := os.ReadFile(filepath.Join(r.root, folder, "version"))
	if text := strings.TrimSpace(string(b)); err == nil && text != "" {
		return text
	}
	return folder
}

// turn points a link to a folder.
func (r releases) turn(link, folder string) error {
	fresh := filepath.Join(r.root, "."+link+".new")
	err := os.Remove(fresh)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.Symlink(folder, fresh)
	}
	if err == nil {
		err = os.Rename(fresh, filepath.Join(r.root, link))
	}
	if err != nil {
		return fmt.Errorf("point %s to %s: %w", link, folder, err)
	}
	return nil
}

// drop removes a link.
func (r releases) drop(link string) error {
	if err := os.Remove(filepath.Join(r.root, link)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove link %s: %w", link, err)
	}
	return nil
}

// try has every program of a folder tell its version: what cannot even do that
// must not be started by anybody.
func (r releases) try(ctx context.Context, folder string) error {
	for _, program := range programs {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		cmd := exec.CommandContext(ctx, filepath.Join(r.root, folder, program), "--version")
		cmd.Env = []string{}
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			return fmt.Errorf("%s --version: %w: %.200s", program, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// tidy removes the folders of all releases that no link names.
func (r releases) tidy() error {
	keep := map[string]bool{"package": true}
	for _, link := range []string{linkNext, linkCurrent, linkProven} {
		folder, err := r.folder(link)
		if err != nil {
			return err
		}
		keep[folder] = true
	}
	entries, err := os.ReadDir(r.root)
	if err != nil {
		return fmt.Errorf("list releases: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || keep[e.Name()] || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := os.RemoveAll(filepath.Join(r.root, e.Name())); err != nil {
			return fmt.Errorf("remove an old release: %w", err)
		}
	}
	return nil
}

// report is the path of the document that says how the last upgrade went.
func (r releases) report() string { return filepath.Join(r.root, "upgrade.json") }

// read returns that document, nil where there was no upgrade.
func (r releases) read() *fleet.UpgradeStatus {
	b, err := os.ReadFile(r.report())
	if err != nil {
		return nil
	}
	var doc fleet.UpgradeStatus
	if json.Unmarshal(b, &doc) != nil {
		return nil
	}
	return &doc
}

// write replaces it.
func (r releases) write(doc fleet.UpgradeStatus) error {
	doc.At = time.Now().UTC().Format(time.RFC3339)
	b, err := json.Marshal(doc)
	if err == nil {
		if err = os.WriteFile(r.report()+".new", append(b, '\n'), 0o644); err == nil { //nolint:gosec // everybody may read how an upgrade went
			err = os.Rename(r.report()+".new", r.report())
		}
	}
	if err != nil {
		return fmt.Errorf("write down how the upgrade went: %w", err)
	}
	return nil
}

// releasesOf finds the root that a program was started from: its path is
// ROOT/current/PROGRAM there. ok is false for one that lies elsewhere.
func releasesOf(self string) (releases, bool) {
	dir := filepath.Dir(self)
	return releases{filepath.Dir(dir)}, filepath.Base(dir) == linkCurrent
}
