package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/supervisor/fleet"
)

// upgradeUnit moves the service of systemd onto what a package has brought, and
// judges it. It ends when the release has proved itself, with 1 when it has not.
func upgradeUnit(c *cli, environ *env.Environ, log *slog.Logger) error {
	if os.Geteuid() != 0 {
		return boot.Exit(fleet.ExitUsage, errors.New("upgrade: root is needed to turn the links in "+c.Upgrade.Root))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	t := &trial{
		releases: releases{c.Upgrade.Root}, log: log, times: usualTimes,
		service: systemdUnit{unit: c.Upgrade.Unit, dir: stateDir(environ, machine{root: true})},
	}
	t.times.ready, t.times.proven = c.Upgrade.Ready, c.Upgrade.Watch
	return t.run(ctx)
}

// upgradeReport is what `supervisor upgrade status` prints.
type upgradeReport struct {
	Next    string               `json:"next,omitempty"`
	Current string               `json:"current"`
	Proven  string               `json:"proven"`
	Last    *fleet.UpgradeStatus `json:"last,omitempty"`
}

// showUpgrade says what is installed and how the last upgrade went.
func showUpgrade(p *boot.Process, r releases, asJSON bool) error {
	var out upgradeReport
	for link, to := range map[string]*string{linkNext: &out.Next, linkCurrent: &out.Current, linkProven: &out.Proven} {
		folder, err := r.folder(link)
		if err != nil {
			return err
		}
		if folder != "" {
			*to = r.version(folder)
		}
	}
	if out.Current == "" {
		return fmt.Errorf("%s holds no release: upgrades are for programs that a package has installed", r.root)
	}
	out.Last = r.read()
	if asJSON {
		enc := json.NewEncoder(p.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(out)
	}
	_, err := fmt.Fprintf(p.Stdout, "current %s  proven %s\n", out.Current, out.Proven)
	if err == nil && out.Next != "" {
		_, err = fmt.Fprintf(p.Stdout, "%s waits for sluice-upgrade.service\n", out.Next)
	}
	if err == nil && out.Last != nil {
		_, err = fmt.Fprintln(p.Stdout, out.Last)
	}
	return err
}
