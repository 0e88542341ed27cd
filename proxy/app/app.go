// Package app is the life of one worker: it joins the supervisor or runs
// alone, turns the configuration into objects, serves, reloads and drains. It
// is the only package that knows all others.
package app

import (
	"errors"
	"fmt"
	"log/slog"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/proxy/config"
	"sluice/proxy/provider"
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
}

// Run is the whole program.
func Run(p *boot.Process) error {
	var c cli
	ctx, done, err := p.Parse(&c, "One worker of Sluice: an OpenAI-compatible gateway. The supervisor starts one per CPU; by hand it runs alone.")
	if err != nil || done {
		return err
	}
	if ctx.Command() == "check" {
		return check(p, c.Check.Flags)
	}
	if path := p.Environ.Get(fleet.EnvControl); path != "" {
		return runSupervised(p, path)
	}
	return runAlone(p, c.Run.Flags, c.Run.StateDir)
}

// check validates a configuration and prints every problem.
func check(p *boot.Process, flags config.Flags) error {
	file, problems := config.Load(source(flags, p.Environ))
	if file != nil {
		problems = append(problems, deploymentProblems(file)...)
	}
	for _, problem := range problems {
		if _, err := fmt.Fprintln(p.Stdout, problem); err != nil {
			return err
		}
	}
	if problems.Failed() {
		return boot.Exit(fleet.ExitConfig, fmt.Errorf("%d errors in the configuration", len(problems.Of(config.Error))))
	}
	where := file.Path
	if where == "" {
		where = "nothing is configured: the built-in defaults"
	}
	_, err := fmt.Fprintf(p.Stdout, "%s: good, %d deployments, %d warnings\n", where, len(file.Models), len(problems.Of(config.Warning)))
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

// load reads the configuration and logs what is worth knowing of it. Its error
// ends a start with 78.
func load(src config.Source, log *slog.Logger) (*config.File, error) {
	file, problems := config.Load(src)
	if file != nil {
		problems = append(problems, deploymentProblems(file)...)
	}
	for _, p := range problems.Of(config.Warning) {
		log.Warn("configuration", slog.String("problem", p.String()))
	}
	if problems.Failed() {
		return nil, boot.Exit(fleet.ExitConfig, problems.Err())
	}
	if file == nil {
		return nil, boot.Exit(fleet.ExitConfig, errors.New("no configuration"))
	}
	return file, nil
}

func errAttr(err error) slog.Attr { return slog.String("error", err.Error()) }
