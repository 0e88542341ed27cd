// Package app is the life of one worker: it joins the supervisor or runs
// alone, turns the configuration into objects, serves, reloads and drains. It
// is the only package that knows all others.
package app

import (
	"fmt"
	"log/slog"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/proxy/config"
	"sluice/proxy/provider"
	"sluice/proxy/seal"
	"sluice/supervisor/fleet"
)

// cli is the command line. Run by the supervisor there is none: the settings
// come as variables.
type cli struct {
	Run struct {
		config.Flags
		StateDir string `name:"state_dir" placeholder:"DIR" help:"State directory (SLUICE_STATE_DIR)."`
	} `cmd:"" default:"withargs" help:"Serve (default)."`
	Check struct {
		config.Flags
	} `cmd:"" help:"Read the configuration, say what is wrong with it, bind nothing. Exits with 0 or 78."`
	Preflight struct{} `cmd:"" hidden:"" help:"What the supervisor asks before it starts anything."`
}

// Run is the whole program.
func Run(p *boot.Process) error {
	var c cli
	ctx, done, err := p.Parse(&c, "One worker of Sluice: an OpenAI-compatible gateway. The supervisor starts one per CPU; by hand it runs alone.")
	if err != nil || done {
		return err
	}
	switch ctx.Command() {
	case "check":
		return check(p, c.Check.Flags)
	case "preflight":
		return preflight(p)
	}
	if path := p.Environ.Get(fleet.EnvControl); path != "" {
		return runSupervised(p, path)
	}
	return runAlone(p, c.Run.Flags, c.Run.StateDir)
}

// check validates a configuration and prints what is wrong with it.
func check(p *boot.Process, flags config.Flags) error {
	src := source(flags, p.Environ)
	file, problems := read(src)
	if _, err := fmt.Fprint(p.Stdout, problems); err != nil {
		return err
	}
	if file == nil {
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("%d errors in the configuration", len(problems.Of(config.Error))))
	}
	if err := checkKeyring(file, src.Flags.Strict); err != nil {
		return err
	}
	if err := checkTLS(p.Stdout, file); err != nil {
		return err
	}
	if err := checkRedis(p.Stdout, file, src.Flags.Strict); err != nil {
		return err
	}
	where := file.Path
	if where == "" {
		where = "nothing is configured: the built-in defaults"
	}
	_, err := fmt.Fprintf(p.Stdout, "%s: good, %d deployments, %d warnings\n", where, len(file.Models), len(problems.Of(config.Warning)))
	return err
}

// checkKeyring says what is wrong with the keyring file, by itself and beside the
// other keys.
func checkKeyring(file *config.File, strict bool) error {
	g := &file.General
	if g.KeyringFile == "" {
		return nil
	}
	_, _, err := seal.FromEnviron(seal.Sources{
		KeyringFile: g.KeyringFile, Salt: g.SaltKey, Master: g.MasterKey, OldMaster: g.OldMasterKey, Strict: strict,
	})
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	return nil
}

// preflight is what the supervisor runs before it binds anything: it says what
// is wrong with the configuration, once for all workers, and prints the
// environment as the file and .env complete it, NUL-separated, for the plan and
// the migrator.
func preflight(p *boot.Process) error {
	src := source(config.Flags{}, p.Environ)
	src.Supervised = true
	file, problems := read(src)
	if _, err := fmt.Fprint(p.Stderr, problems); err != nil {
		return err
	}
	if file == nil {
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("%d errors in the configuration; nothing was started", len(problems.Of(config.Error))))
	}
	if err := checkKeyring(file, src.Flags.Strict); err != nil {
		return err
	}
	if err := checkTLS(p.Stderr, file); err != nil {
		return err
	}
	if err := startRedis(file, src.Flags.Strict); err != nil {
		return err
	}
	if err := closed(file, here()); err != nil {
		return err
	}
	if said := exposed(file); said != "" {
		if _, err := fmt.Fprintf(p.Stderr, "warning: %s\n", said); err != nil {
			return err
		}
	}
	vars := map[string]string{ // GUNICORN_CMD_ARGS may have named them
		"SSL_CERTFILE_PATH": file.Server.TLSCert, "SSL_KEYFILE_PATH": file.Server.TLSKey,
	}
	for name, secret := range map[string]env.Secret{ // what the migrator needs and the file may have
		"DATABASE_URL": file.General.DatabaseURL, "LITELLM_MASTER_KEY": file.General.MasterKey,
		"LITELLM_SALT_KEY": file.General.SaltKey, "SLUICE_OLD_MASTER_KEY": file.General.OldMasterKey,
	} {
		if secret != "" {
			vars[name] = secret.Reveal()
		}
	}
	if file.General.DisableSchemaUpdate {
		vars["DISABLE_SCHEMA_UPDATE"] = "true"
	}
	_, err := p.Stdout.Write(file.Environ.With(vars).Bytes())
	return err
}

// source is where a worker reads its configuration from. Under the supervisor
// the flags have become variables.
func source(flags config.Flags, environ *env.Environ) config.Source {
	if on, err := environ.Bool("SLUICE_STRICT", false); err == nil && on {
		flags.Strict = true
	}
	for into, name := range map[*string]string{
		&flags.Model: "SLUICE_MODEL", &flags.Alias: "SLUICE_MODEL_ALIAS",
		&flags.APIBase: "SLUICE_MODEL_API_BASE", &flags.APIVersion: "SLUICE_MODEL_API_VERSION",
	} {
		if *into == "" {
			*into = environ.Get(name)
		}
	}
	return config.Source{Flags: flags, Environ: environ, Providers: providers()}
}

// providers tells the configuration which variables hold whose key.
func providers() []config.Provider {
	var out []config.Provider
	for _, v := range provider.KeyVariables() {
		out = append(out, config.Provider{Prefix: v.Prefix, Keys: v.Names})
	}
	return out
}

// read loads a configuration and looks at its deployments. The file is nil if
// and only if the problems have an error among them.
func read(src config.Source) (*config.File, config.Problems) {
	file, problems := config.Load(src)
	if file == nil {
		return nil, problems
	}
	problems = append(problems, deploymentProblems(file)...)
	problems = append(problems, spendProblems(file)...)
	if problems.Failed() {
		return nil, problems
	}
	return file, problems
}

// load reads the configuration of a worker and logs what is doubtful in it, in
// one line. Its error holds every mistake and ends a start with 78.
func load(src config.Source, log *slog.Logger) (*config.File, error) {
	file, problems := read(src)
	if file == nil {
		return nil, boot.Exit(fleet.ExitConfig, problems.Err())
	}
	if doubtful := problems.Of(config.Warning); len(doubtful) > 0 {
		lines := make([]string, len(doubtful))
		for i, p := range doubtful {
			lines[i] = p.String()
		}
		log.Warn("configuration has warnings", slog.Any("problems", lines))
	}
	return file, nil
}

func errAttr(err error) slog.Attr { return slog.String("error", err.Error()) }
