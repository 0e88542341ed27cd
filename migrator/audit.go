package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/migrator/audit"
	"sluice/migrator/migrate"
	"sluice/proxy/seal"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// auditCmd are the commands about the record of changes.
type auditCmd struct {
	Verify  auditVerify  `cmd:"" help:"Check every row of the record against its chain: exit 0 when all fit, 1 when the record was tampered with."`
	Archive auditArchive `cmd:"" help:"Move the oldest rows of the record to a file that still verifies."`
	Export  auditExport  `cmd:"" help:"Write the record to standard output."`
}

type auditVerify struct {
	Anchor []string `name:"anchor" placeholder:"FILE" help:"Heads of the chain that were kept: each has to be in it. Default: audit-head.jsonl in the state directory, if it is there."`
	File   []string `name:"file" placeholder:"FILE" help:"Archive to verify too, and to join to the record."`
	Alone  bool     `name:"alone" help:"Verify the archives alone, without a database. Keys are those of the ring."`
	JSON   bool     `name:"json" help:"Print the verdict as one JSON document."`
}

type auditArchive struct {
	Before string `name:"before" placeholder:"DATE" help:"Move what is older than this date (UTC) or time (RFC 3339)."`
	Keep   string `name:"keep" placeholder:"DURATION" help:"Move what is older than this, as in 365d."`
	To     string `name:"to" required:"" placeholder:"FILE" help:"The file. Run again with the same one after a run that was killed."`
	Recent bool   `name:"recent" help:"Move rows of the last 25 hours too. Hosts that are away meanwhile never learn what was changed in them: stop those first."`
}

// youngest is the age of rows that stay in any case. A host that was away takes
// up what it knew where that is less than a day old, and needs to be told what
// was changed since.
const youngest = 25 * time.Hour

type auditExport struct {
	From   string `name:"from" placeholder:"DATE" help:"Rows from this date (UTC) or time (RFC 3339) on."`
	To     string `name:"to" placeholder:"DATE" help:"Rows before this time; a date counts whole."`
	Format string `name:"format" enum:"jsonl,csv" default:"jsonl" help:"jsonl or csv."`
}

// auditing is what the commands about the record share.
type auditing struct {
	p      *boot.Process
	dir    fleet.Dir
	log    *slog.Logger
	target migrate.Target
	ring   *seal.Ring
	store  *store.Store // nil where no database is asked
}

// runAudit does one of the commands.
func runAudit(ctx context.Context, p *boot.Process, args *cli, command string, target migrate.Target, o migrate.Options) error {
	a := &auditing{p: p, dir: stateDir(p.Environ, args), log: o.Log, target: target}
	needsRing := command != "audit export"
	if needsRing {
		var err error
		if a.ring, err = findRing(p.Environ, a.dir); err != nil {
			return boot.Exit(fleet.ExitConfig, err)
		}
	}
	if command != "audit verify" || !args.Audit.Verify.Alone {
		if err := migrated(ctx, target, o); err != nil {
			return err
		}
		s, err := openStore(target, a.ring, o.Log)
		if err != nil {
			return boot.Exit(fleet.ExitConfig, err)
		}
		defer s.Close()
		a.store = s
	}
	switch command {
	case "audit verify":
		return a.verify(ctx, &args.Audit.Verify)
	case "audit archive":
		return a.archive(ctx, &args.Audit.Archive)
	default:
		return a.export(ctx, &args.Audit.Export)
	}
}

func (a *auditing) verify(ctx context.Context, args *auditVerify) error {
	if args.Alone && len(args.File) == 0 {
		return boot.Exit(fleet.ExitConfig, errors.New("--alone verifies archives: name one by --file"))
	}
	anchors := args.Anchor
	if len(anchors) == 0 && !args.Alone {
		anchors = a.heads()
	}
	v, err := audit.Verify(ctx, audit.Options{Store: a.store, Ring: a.ring, Anchors: anchors, Files: args.File, Log: a.log})
	if err != nil {
		return auditExit(err)
	}
	if args.JSON {
		out := json.NewEncoder(a.p.Stdout)
		out.SetEscapeHTML(false)
		err = out.Encode(v)
	} else {
		_, err = fmt.Fprint(a.p.Stdout, v.String())
	}
	if err != nil {
		return fmt.Errorf("print the verdict: %w", err)
	}
	switch {
	case len(v.Findings) > 0:
		return boot.Exit(fleet.ExitFailed, fmt.Errorf("the record of changes was tampered with: %d findings, the first is %s", v.Found, v.Findings[0]))
	case len(v.UnknownKeys) > 0:
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("%d rows cannot be verified: they are under %s, which the keys given here (%s) neither hold nor open; give the keyring of the gateway",
			v.Unverified(), audit.Keys(v.UnknownKeys), strings.Join(a.ring.IDs(), ", ")))
	}
	return nil
}

// heads is the file of heads of this host, where there is one.
func (a *auditing) heads() []string {
	own := a.dir.AuditHead()
	if _, err := os.Stat(own); err != nil {
		return nil
	}
	return []string{own}
}

func (a *auditing) archive(ctx context.Context, args *auditArchive) error {
	if (args.Before == "") == (args.Keep == "") {
		return boot.Exit(fleet.ExitConfig, errors.New("say what is to be moved: either --before DATE or --keep DURATION"))
	}
	var before time.Time
	if args.Keep != "" {
		keep, ok := env.ParseDuration(args.Keep)
		if !ok {
			return boot.Exit(fleet.ExitConfig, fmt.Errorf("--keep %s is no duration: write it as in 365d", args.Keep))
		}
		before = time.Now().Add(-keep)
	} else {
		var err error
		if before, _, err = moment("before", args.Before); err != nil {
			return err
		}
	}
	if limit := time.Now().Add(-youngest); before.After(limit) && !args.Recent {
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("rows of the last 25 hours stay, hosts that were away still follow them: "+
			"name a time before %s, or --recent once every host is up to date or stopped", limit.UTC().Format(time.RFC3339)))
	}
	done, err := audit.Archive(ctx, audit.Options{Store: a.store, Ring: a.ring, Anchors: a.heads(), Log: a.log}, before, args.To)
	if err != nil {
		return auditExit(err)
	}
	_, err = fmt.Fprintln(a.p.Stdout, done)
	return err
}

func (a *auditing) export(ctx context.Context, args *auditExport) error {
	var within audit.Range
	for _, bound := range []struct {
		name, text string
		to         *time.Time
	}{{"from", args.From, &within.From}, {"to", args.To, &within.To}} {
		if bound.text == "" {
			continue
		}
		at, date, err := moment(bound.name, bound.text)
		if err != nil {
			return err
		}
		if date && bound.name == "to" {
			at = at.AddDate(0, 0, 1)
		}
		*bound.to = at
	}
	return auditExit(audit.Export(ctx, a.store, within, args.Format, a.p.Stdout))
}

// moment reads a date, which is its first moment in UTC, or a time.
func moment(name, text string) (at time.Time, date bool, err error) {
	if at, err = time.Parse(time.DateOnly, text); err == nil {
		return at, true, nil
	}
	if at, err = time.Parse(time.RFC3339, text); err == nil {
		return at, false, nil
	}
	return at, false, boot.Exit(fleet.ExitConfig, fmt.Errorf("--%s %s is no date: write 2026-05-01 or 2026-05-01T12:00:00Z", name, text))
}

// auditExit gives an error its exit code: what the operator gave is wrong, the
// record was tampered with, or the database is away.
func auditExit(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, audit.ErrInput):
		return boot.Exit(fleet.ExitConfig, err)
	case errors.Is(err, audit.ErrBusy):
		return boot.Exit(fleet.ExitTryAgain, err)
	default:
		return storeExit(err)
	}
}
