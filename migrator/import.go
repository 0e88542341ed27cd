package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/internal/postgres"
	"sluice/migrator/importer"
	"sluice/migrator/migrate"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// importCommands are systems that can be moved in from.
type importCommands struct {
	Litellm importLiteLLM `cmd:"" name:"litellm" help:"Take over what a LiteLLM database holds. LiteLLM's tables are only read. Stopped or killed, the same command goes on; done, it starts anew."`
}

type importLiteLLM struct {
	From            string `name:"from" placeholder:"URL" secret:"set SLUICE_IMPORT_FROM_FILE" help:"LiteLLM's database, in Prisma's form too (schema=NAME). Default: SLUICE_IMPORT_FROM or the file that SLUICE_IMPORT_FROM_FILE names, else the database that is imported into."`
	DryRun          bool   `name:"dry-run" help:"Do everything but writing, and print the report."`
	Merge           bool   `name:"merge" help:"Import into a database that has objects of its own; they stay as they are and are reported."`
	LeaveUnreadable bool   `name:"leave-unreadable" help:"Leave out, and report, rows that are encrypted with a key that nobody has any more."`
	SpendLogsSince  string `name:"spend-logs-since" placeholder:"DATE" help:"Also take the log rows of single calls from this day on (YYYY-MM-DD, UTC)."`
	JSON            bool   `name:"json" help:"Print the report as JSON."`
}

// Settings of imports. Secrets have their forms with _FILE and as credentials.
const (
	envImport     = "SLUICE_IMPORT"          // auto or off
	envImportFrom = "SLUICE_IMPORT_FROM"     // URL of the source
	envImportSalt = "SLUICE_IMPORT_SALT_KEY" // the source's salt key, where it is another one than here
)

// importMemory is what an import lets the heap grow to before the collector
// works harder: with it 200 MB are enough for any number of rows.
const importMemory = 96 << 20

// run does one import by hand.
func (c *importLiteLLM) run(ctx context.Context, p *boot.Process, args *cli, t migrate.Target, o migrate.Options) error {
	since, err := day(c.SpendLogsSince)
	if err != nil {
		return boot.Exit(fleet.ExitUsage, err)
	}
	from, err := c.source(p.Environ, t)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	for _, note := range from.Notes {
		o.Log.Warn("URL of the source", slog.String("note", note))
	}
	options, end, err := prepareImport(ctx, p.Environ, stateDir(p.Environ, args), t, o, c.DryRun)
	if err != nil {
		return err
	}
	defer end()
	options.Source, options.DryRun, options.Merge, options.LeaveUnreadable = from, c.DryRun, c.Merge, c.LeaveUnreadable
	options.SpendLogsSince, options.Wait = since, o.Wait
	if file, ok := p.Stderr.(*os.File); ok && isTerminal(file) {
		options.Progress = file
	}
	report, err := importer.Run(ctx, options)
	if report != nil && (err == nil || report.Total().Rows > 0) { // else the error says all
		if printed := c.print(p.Stdout, report); err == nil {
			err = printed
		}
	}
	return importExit(err)
}

func (c *importLiteLLM) print(w io.Writer, report *importer.Report) error {
	if !c.JSON {
		return report.WriteText(w)
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(report)
}

// source is the database that is imported from.
func (c *importLiteLLM) source(e *env.Environ, t migrate.Target) (*postgres.Source, error) {
	url, name := c.From, "--from"
	if url == "" {
		secret, err := e.Secret(envImportFrom)
		if err != nil {
			return nil, err
		}
		url, name = secret.Reveal(), envImportFrom
	}
	switch {
	case url != "":
		from, err := postgres.ParseURL(url)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return from, nil
	case t.Postgres != nil:
		return t.Postgres, nil
	}
	return nil, fmt.Errorf("no source is named: give --from postgresql://… or %s", envImportFrom)
}

// day reads a date, or a moment.
func day(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(form, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, errors.New("--spend-logs-since is no date: write it as YYYY-MM-DD, or as 2026-01-31T12:00:00Z")
}

// prepareImport migrates the target, finds the keys and opens the store. end
// closes what was opened.
func prepareImport(ctx context.Context, e *env.Environ, dir fleet.Dir, t migrate.Target, o migrate.Options, dry bool) (
	options importer.Options, end func(), err error,
) {
	if e.Get("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(importMemory)
	}
	ring, err := findRing(e, dir)
	if err != nil {
		return options, nil, boot.Exit(fleet.ExitConfig, err)
	}
	options = importer.Options{Ring: ring, Log: o.Log}
	for _, name := range []string{envImportSalt, "LITELLM_SALT_KEY", "LITELLM_MASTER_KEY", "SLUICE_OLD_MASTER_KEY"} {
		secret, err := e.Secret(name)
		if err != nil {
			return options, nil, boot.Exit(fleet.ExitConfig, err)
		}
		options.OldSalt = append(options.OldSalt, secret)
	}
	if dry { // which must not migrate either
		state, err := migrate.Look(ctx, t, o)
		if err != nil {
			return options, nil, exit(err)
		}
		if state.Pending() > 0 {
			o.Log.Info("the database that is imported into is not migrated: the dry run compares with nothing", slog.Int("pending", state.Pending()))
			return options, func() {}, nil
		}
	} else if _, err := migrate.Up(ctx, t, o); err != nil {
		return options, nil, exit(err)
	}
	s, err := openStore(t, ring, o.Log)
	if err != nil {
		return options, nil, importExit(err)
	}
	options.Store, options.Target, options.SQLite = s, t.Postgres, t.SQLite
	return options, s.Close, nil
}

// importAtStart imports by itself, once: where the database holds LiteLLM's keys
// and was never imported, before the first worker starts.
func importAtStart(ctx context.Context, e *env.Environ, dir fleet.Dir, t migrate.Target, o migrate.Options) error {
	switch mode := e.Get(envImport); mode {
	case "", "auto":
	case "off":
		return nil
	default:
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("%s=%q: allowed: auto, off", envImport, mode))
	}
	if t.Postgres == nil {
		return nil
	}
	tell := progressPipe(e)
	due, err := importDue(ctx, t, o)
	if err != nil || due {
		tell(0, 0) // from here on no worker may start before it is known that everything is here
	}
	if err == nil && due {
		err = importNow(ctx, e, dir, t, o, tell)
	}
	if err == nil {
		return nil
	}
	err = importExit(err)
	var code *boot.ExitError
	if errors.As(err, &code) && code.Code != fleet.ExitTryAgain && code.Err != nil {
		return boot.Exit(code.Code, fmt.Errorf("import from LiteLLM: %w; %s=off starts without it", code.Err, envImport))
	}
	return err
}

// importDue looks whether there is anything to import. It needs no keys.
func importDue(ctx context.Context, t migrate.Target, o migrate.Options) (bool, error) {
	s, err := store.Open(store.Config{Postgres: t.Postgres, Pool: 1, Log: o.Log})
	if err != nil {
		return false, err
	}
	defer s.Close()
	return importer.Due(ctx, importer.Options{Source: t.Postgres, Store: s, Log: o.Log})
}

func importNow(ctx context.Context, e *env.Environ, dir fleet.Dir, t migrate.Target, o migrate.Options, tell func(rows, of int64)) error {
	options, end, err := prepareImport(ctx, e, dir, t, o, false)
	if err != nil {
		return err
	}
	defer end()
	options.Source, options.Automatic, options.Wait, options.Told = t.Postgres, true, -1, tell
	report, err := importer.Run(ctx, options)
	if err != nil || report == nil {
		return err
	}
	for _, table := range report.Tables {
		for _, problem := range table.Problems {
			o.Log.Warn("import from LiteLLM", slog.String("table", table.Table), slog.String("problem", problem.Problem),
				slog.Int("rows", problem.Count), slog.Any("examples", problem.IDs))
		}
	}
	o.Log.Info("LiteLLM's data was imported; the whole report is in sluice.imports, and its tables are as they were")
	return nil
}

// progressPipe is where the supervisor hears how far an import is.
func progressPipe(e *env.Environ) func(rows, of int64) {
	fd, err := e.Int(fleet.EnvProgressFD, -1)
	if err != nil || fd < 0 {
		return func(int64, int64) {}
	}
	pipe := os.NewFile(uintptr(fd), "progress")
	return func(rows, of int64) { _, _ = fmt.Fprintf(pipe, "%d %d\n", rows, of) }
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// importExit gives an error of an import the exit code of its class.
func importExit(err error) error {
	var coded *boot.ExitError
	if err == nil || errors.As(err, &coded) {
		return err
	}
	switch importer.ClassOf(err) {
	case importer.TryAgain:
		return boot.Exit(fleet.ExitTryAgain, err)
	case importer.Config:
		return boot.Exit(fleet.ExitConfig, err)
	default:
		return boot.Exit(fleet.ExitFailed, err)
	}
}
