package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/internal/postgres"
	"sluice/migrator/migrate"
	"sluice/supervisor/fleet"
)

// cli are the arguments. Flags win over the environment.
type cli struct {
	DatabaseURL string        `name:"database_url" placeholder:"URL" secret:"set DATABASE_URL_FILE" help:"PostgreSQL to migrate. Default: DIRECT_URL, DATABASE_URL or DATABASE_HOST and its parts; none of them: SQLite in the state directory."`
	StateDir    string        `name:"state_dir" placeholder:"DIR" help:"State directory. Default: SLUICE_STATE_DIR, or ./state."`
	Wait        time.Duration `name:"wait" default:"60s" help:"How long to wait for another migrator, or for locks that others hold."`

	Up     struct{} `cmd:"" default:"1" help:"Apply what is pending."`
	Status struct{} `cmd:"" help:"Print every migration and when it was applied."`
	Check  struct{} `cmd:"" help:"Exit 0 when nothing is pending, 1 otherwise. Writes nothing."`

	Import importCommands `cmd:"" help:"Take over what another system holds."`
	Audit  auditCmd       `cmd:"" help:"Verify, archive and export the record of changes."`

	Secrets secretsCmd `cmd:"" help:"Look after the keys that secrets are sealed with."`
	Spend   spendCmd   `cmd:"" help:"Look after what was spent, and what hosts hold of budgets."`
	Journal journalCmd `cmd:"" help:"Look into the journal of this host."`
}

// run does one command. It stops at TERM and INT: what was not committed is
// rolled back.
func run(p *boot.Process) error {
	var args cli
	command, done, err := p.Parse(&args, "Brings the database to this release's schema.")
	if err != nil || done {
		return err
	}
	level, _ := boot.ParseLevel(p.Environ.Get("LITELLM_LOG"))
	json, err := p.Environ.Bool("JSON_LOGS", false)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	log := boot.NewLogger(p.Stderr, boot.LogOptions{Program: p.Program, JSON: json, Level: level})
	defer log.Close()
	if name := command.Command(); strings.HasPrefix(name, "journal ") {
		return runJournal(p, &args, name)
	}
	target, err := findTarget(p.Environ, args, log.Logger)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	o := migrate.Options{Log: log.Logger, Wait: args.Wait, Workers: workersRole(p.Environ, args)}
	switch command.Command() {
	case "status":
		return status(ctx, p, target, o)
	case "check":
		return check(ctx, p, target, o)
	case "import litellm":
		return args.Import.Litellm.run(ctx, p, &args, target, o)
	case "audit verify", "audit archive", "audit export":
		return runAudit(ctx, p, &args, command.Command(), target, o)
	case "secrets status", "secrets retire <id>":
		return runSecrets(ctx, p, &args, command.Command(), target, o)
	case "spend leases", "spend leases <host>", "spend release <host>", "spend reconcile", "spend export":
		return runSpend(ctx, p, &args, command.Command(), target, o)
	default:
		return up(ctx, p, stateDir(p.Environ, &args), target, o)
	}
}

// findTarget decides which database is meant.
func findTarget(e *env.Environ, args cli, log *slog.Logger) (migrate.Target, error) {
	var unreadable error
	get := func(name string) string {
		secret, err := e.Secret(name)
		if err != nil {
			unreadable = errors.Join(unreadable, err)
		}
		return secret.Reveal()
	}
	var src *postgres.Source
	var found bool
	var err error
	if args.DatabaseURL != "" {
		found = true
		src, err = postgres.ParseURL(args.DatabaseURL)
	} else {
		src, found, err = postgres.FromEnviron(get, true)
	}
	if err := errors.Join(unreadable, err); err != nil {
		return migrate.Target{}, err
	}
	if found {
		for _, note := range src.Notes {
			log.Warn("database URL", slog.String("note", note))
		}
		return migrate.Target{Postgres: src}, nil
	}
	return migrate.Target{SQLite: stateDir(e, &args).SQLite()}, nil
}

// stateDir is where the appliance keeps what is its own.
func stateDir(e *env.Environ, args *cli) fleet.Dir {
	for _, dir := range []string{args.StateDir, e.Get(fleet.EnvStateDir)} {
		if dir != "" {
			return fleet.Dir(dir)
		}
	}
	return "state"
}

// up applies what is pending, unless DISABLE_SCHEMA_UPDATE leaves that to
// somebody else, as LiteLLM's Helm chart does for its pods. Then it moves in
// where LiteLLM's keys are found for the first time.
func up(ctx context.Context, p *boot.Process, dir fleet.Dir, t migrate.Target, o migrate.Options) error {
	if dir := p.Environ.Get("LITELLM_MIGRATION_DIR"); dir != "" {
		o.Log.Info("LITELLM_MIGRATION_DIR is ignored: the migrations are inside this program", slog.String("dir", dir))
	}
	disabled, err := p.Environ.Bool("DISABLE_SCHEMA_UPDATE", false)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	start := time.Now()
	if disabled {
		state, err := migrate.Look(ctx, t, o)
		if err != nil {
			return exit(err)
		}
		if state.Pending() > 0 {
			o.Log.Warn("migrations are pending; DISABLE_SCHEMA_UPDATE leaves them to another migrator", slog.Int("pending", state.Pending()),
				slog.Int64("have", state.Have), slog.Int64("want", state.Want))
		}
		return nil
	}
	o.Log.Info("migrating", slog.String("version", boot.Version), slog.String("database", t.String()))
	state, err := migrate.Up(ctx, t, o)
	if err != nil {
		return exit(err)
	}
	o.Log.Info("schema is up to date", slog.Int64("have", state.Have), slog.Int64("want", state.Want),
		slog.Float64("duration_ms", float64(time.Since(start).Microseconds())/1000))
	return importAtStart(ctx, p.Environ, dir, t, o)
}

// status prints one line for each migration.
func status(ctx context.Context, p *boot.Process, t migrate.Target, o migrate.Options) error {
	state, err := migrate.Look(ctx, t, o)
	if err != nil {
		return exit(err)
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "%s\nhave %d\twant %d\n", t, state.Have, state.Want)
	for _, s := range state.Steps {
		applied, name := "pending", s.Name
		if !s.Applied.IsZero() {
			applied = s.Applied.UTC().Format(time.RFC3339)
		}
		if name == "" {
			name = "(of a newer release)"
		}
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\n", s.Version, name, applied)
	}
	return w.Flush()
}

// check says in one line whether anything is pending.
func check(ctx context.Context, p *boot.Process, t migrate.Target, o migrate.Options) error {
	state, err := migrate.Look(ctx, t, o)
	if err != nil {
		return exit(err)
	}
	if n := state.Pending(); n > 0 {
		return boot.Exit(fleet.ExitFailed, fmt.Errorf("%d migrations are pending: schema %d, this release wants %d", n, state.Have, state.Want))
	}
	_, err = fmt.Fprintf(p.Stdout, "schema %d, nothing pending\n", state.Have)
	return err
}

// exit gives an error the exit code of its class.
func exit(err error) error {
	switch migrate.ClassOf(err) {
	case migrate.TryAgain:
		return boot.Exit(fleet.ExitTryAgain, err)
	case migrate.Config:
		return boot.Exit(fleet.ExitConfig, err)
	default:
		return boot.Exit(fleet.ExitFailed, err)
	}
}
