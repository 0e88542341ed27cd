// Package config reads the configuration: LiteLLM's config.yaml with what it
// includes, the variables that it refers to, .env, and the flags and variables
// that stand beside it. It is pure data: nothing is opened but files, nothing is
// served. Every problem is found in one reading and has its file and line.
package config

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice/internal/env"
)

// Provider is what this package must know of a provider: the prefix of its
// models and the variables that may hold its key, first one first.
type Provider struct {
	Prefix string
	Keys   []string
}

// Source says where a configuration is read from.
type Source struct {
	Flags     Flags
	Environ   *env.Environ
	Dir       string     // working directory; "" is that of the process
	Providers []Provider // served under "prefix/*" when nothing is configured and a key is set
	Overlay   *Overlay   // what the database says beside the file; nil for nothing

	// Supervised: the supervisor tells the migrator what the file says.
	Supervised bool

	// ReadFile reads a file; nil is os.ReadFile.
	ReadFile func(path string) ([]byte, error)
}

// File is a configuration that can be served. It is immutable.
type File struct {
	Path    string   // of the main file; "" where nothing is configured
	Files   []string // every file that was read, the main one first
	Models  []*Deployment
	LiteLLM LiteLLM
	General General
	Router  Router
	Compat  Compat
	Server  Server
	Environ *env.Environ // with .env and environment_variables; holds secrets

	root        *value
	credentials map[string]*value
	stored      map[string]string // variables that the API stored
	keys        map[string]bool   // variables that hold keys of providers
	process     *env.Environ      // the environment without .env and environment_variables
	used        map[string]bool   // variables that were read and may hold a secret
}

// Load reads a configuration and says everything that is wrong with it. The
// file is nil if and only if the problems have an error among them.
//
// Without a file (no flag, no CONFIG_FILE_PATH) there is a model "demo" that
// needs no provider, and each provider whose key is in the environment. A
// missing master key is no problem: see General.MasterKey.
func Load(src Source) (*File, Problems) {
	read := src.ReadFile
	if read == nil {
		read = os.ReadFile
	}
	r := newReport(src.Flags.Strict)
	f := &File{Environ: dotEnv(r, src.Environ, src.Dir, read), process: src.Environ, used: map[string]bool{}}
	f.Path = src.Flags.Config
	if f.Path == "" {
		f.Path = f.Environ.Get("CONFIG_FILE_PATH")
	}
	f.root = &value{is: mapping}
	if f.Path != "" {
		f.readRoot(r, read, absolute(src.Dir, f.Path))
	}
	if f.root != nil {
		if !f.storesModels() {
			src.Overlay = nil
		}
		f.variables(src)
		f.overlaySections(r, src.Overlay)
		f.settings(r, f.root)
		f.sections(r)
		f.credentials = credentials(r, f.root.get("credential_list"))
		f.overlayCredentials(f.credentials, src.Overlay)
		f.models(r, f.root)
		f.overlayModels(r, src.Overlay, f.credentials)
		f.fromFlags(r, &src.Flags)
		f.fromEnviron(r)
		f.server(r, &src.Flags)
		f.unconfigured(src)
		f.checkAliases(r)
		if !src.Supervised {
			f.checkMigrator(r, src.Environ)
		}
	}
	problems := r.sorted()
	if problems.Failed() {
		return nil, problems
	}
	return f, problems
}

func absolute(dir, path string) string {
	if dir == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// readRoot reads the main file. Where it sets variables it is read again with
// them, because they count everywhere in it.
func (f *File) readRoot(r *report, read func(string) ([]byte, error), path string) {
	data, err := read(path)
	if err != nil {
		r.errorf(Pos{File: path}, "", "a file that exists and can be read", "%s", fileError(err))
		f.root = nil
		return
	}
	parse := func(r *report) *value {
		p := &parser{report: r, read: read, sub: &substituter{r, f.Environ, map[string]bool{}, f.used}}
		root := p.tree(path, data)
		f.Files = p.files
		return root
	}
	first := newReport(r.strict)
	f.root = parse(first)
	if vars := f.root.get("environment_variables"); vars != nil && vars.is == mapping {
		set := map[string]string{}
		for _, e := range vars.entries {
			if e.value.scalar() && e.name != "" && !strings.ContainsAny(e.name+e.value.text, "\x00") && !strings.Contains(e.name, "=") {
				set[e.name] = e.value.text
			}
		}
		f.Environ = f.Environ.With(set)
		first = newReport(r.strict)
		f.root = parse(first)
	}
	for name := range first.order {
		r.order[name] = first.order[name]
	}
	for _, p := range first.list {
		r.add(p.Severity, p.At, p.Key, p.Text, p.Allowed)
	}
}

// sections checks the names of the top level and the kinds of what no other
// reader looks at.
func (f *File) sections(r *report) {
	keys := topKeys()
	for _, e := range f.root.entries {
		switch e.name {
		case "litellm_settings", "general_settings", "router_settings", "compat", "include":
			continue // their readers check them
		}
		k, ok := find(keys, e.name)
		switch {
		case ok:
			checkUse(r, "", k, e)
		case !strings.HasPrefix(e.name, "x-"): // by custom a place for anchors
			r.unknown(e.at, "", e.name, names(keys))
		}
	}
	for _, e := range entriesOf(f.root.get("environment_variables")) {
		if !e.value.scalar() && e.value.is != null {
			r.errorf(e.at, join("environment_variables", e.name), "text", "is %s", e.value.is)
		}
	}
}

func entriesOf(v *value) []entry {
	if v == nil {
		return nil
	}
	return v.entries
}

// fromEnviron takes from the environment what the file does not say.
func (f *File) fromEnviron(r *report) {
	secret := func(into *env.Secret, name string) {
		if *into != "" {
			return
		}
		got, err := f.Environ.Secret(name)
		if err != nil {
			r.errorf(Pos{File: name}, "", "", "%v", err)
		}
		f.used[name] = true
		*into = got
	}
	if f.General.MasterKey == "" {
		secret(&f.General.MasterKey, "LITELLM_MASTER_KEY")
		checkMasterKey(r, Pos{File: "LITELLM_MASTER_KEY"}, "", f.General.MasterKey)
	}
	secret(&f.General.DatabaseURL, "DATABASE_URL")
	f.database(secret)
	if f.Environ.Get("LITELLM_CONFIG_BUCKET_NAME") != "" {
		r.warnf(Pos{File: "LITELLM_CONFIG_BUCKET_NAME"}, "", "is ignored: the configuration is read from a file in this release")
	}
	f.redis(r, secret)
	f.identityEnviron(r, secret)
	f.spendEnviron(r, secret)
	s := setting{report: r, environ: f.Environ}
	f.General.DisableSchemaUpdate = f.General.DisableSchemaUpdate || s.bool("DISABLE_SCHEMA_UPDATE")
	litellm := f.root.get("litellm_settings")
	if litellm.get("request_timeout") == nil {
		f.LiteLLM.RequestTimeout = s.seconds(f.LiteLLM.RequestTimeout, nil, "", "REQUEST_TIMEOUT", "")
	}
	if !f.LiteLLM.Verify.Given {
		f.LiteLLM.Verify = verifyOf(&value{is: text, text: f.Environ.Get("SSL_VERIFY")})
	}
	if f.LiteLLM.SSLCertificate == "" {
		f.LiteLLM.SSLCertificate = f.Environ.Get("SSL_CERTIFICATE")
	}
}

// database brings the URL into its usual form, and puts it together from its
// parts where they are given and it is not.
func (f *File) database(secret func(*env.Secret, string)) {
	scheme, rest, ok := strings.Cut(f.General.DatabaseURL.Reveal(), "://")
	if ok && strings.HasPrefix(scheme, "postgresql+") { // SQLAlchemy's way to name a driver
		f.General.DatabaseURL = env.Secret("postgresql://" + rest)
	}
	host := f.Environ.Get("DATABASE_HOST")
	if f.General.DatabaseURL != "" || host == "" {
		return
	}
	if port := f.Environ.Get("DATABASE_PORT"); port != "" {
		host = net.JoinHostPort(host, port)
	}
	u := url.URL{Scheme: "postgresql", Host: host, Path: "/" + f.Environ.Get("DATABASE_NAME")}
	user := f.Environ.Get("DATABASE_USERNAME")
	if user == "" {
		user = f.Environ.Get("DATABASE_USER")
	}
	var password env.Secret
	secret(&password, "DATABASE_PASSWORD")
	switch {
	case password != "":
		u.User = url.UserPassword(user, password.Reveal())
	case user != "":
		u.User = url.User(user)
	}
	if schema := f.Environ.Get("DATABASE_SCHEMA"); schema != "" {
		u.RawQuery = "schema=" + url.QueryEscape(schema)
	}
	f.General.DatabaseURL = env.Secret(u.String())
}

// unconfigured serves what a fresh machine can serve, where nothing is said.
func (f *File) unconfigured(src Source) {
	none := f.Path == "" && src.Flags.Model == ""
	if none {
		text := demoText
		f.Models = append(f.Models, &Deployment{
			At: Pos{File: "built in"}, Name: "demo", ID: "demo",
			Params: Params{Model: "openai/demo", MockResponse: &text},
			Info:   Info{ID: "demo", Mode: "chat"},
		})
	}
	if !none && !f.General.InferModelFromKeys {
		return
	}
	have := map[string]bool{}
	for _, d := range f.Models {
		have[d.Name] = true
	}
	for _, p := range src.Providers {
		name := p.Prefix + "/*"
		if have[name] {
			continue
		}
		for _, variable := range p.Keys {
			key, err := f.Environ.Secret(variable)
			if err != nil || key == "" {
				continue
			}
			f.Models = append(f.Models, &Deployment{
				At: Pos{File: variable}, Name: name, ID: p.Prefix + "-environment",
				Params: Params{Model: name, APIKey: key},
			})
			f.used[variable] = true
			break
		}
	}
}

// demoText is what the model of an unconfigured gateway says.
const demoText = "Hello from Sluice. This answer was made without a provider: set OPENAI_API_KEY or write a config.yaml to reach a real one."

// checkMigrator warns of a database that the migrator will not find: it has the
// environment of the process, not this file nor .env.
func (f *File) checkMigrator(r *report, process *env.Environ) {
	if f.General.DatabaseURL == "" {
		return
	}
	if url, err := process.Secret("DATABASE_URL"); err != nil || url != "" || process.Get("DIRECT_URL") != "" || process.Get("DATABASE_HOST") != "" {
		return
	}
	at := Pos{File: "DATABASE_URL"}
	if v := f.root.get("general_settings").get("database_url"); v != nil {
		at = v.at
	}
	r.warnf(at, "general_settings.database_url", "the migrator does not read this file: set DATABASE_URL as well, or its schema is not brought up to date")
}

// checkAliases warns of aliases that lead nowhere.
func (f *File) checkAliases(r *report) {
	for _, a := range f.Router.Aliases {
		if !f.Names(a.Model) {
			r.warnf(a.At, join("router_settings.model_group_alias", a.Name), "no model has the name %s", quote(a.Model))
		}
	}
}

// Names reports whether a deployment may answer to a name.
func (f *File) Names(name string) bool {
	for _, d := range f.Models {
		if d.Name == name || strings.Contains(d.Name, "*") {
			return true
		}
	}
	return false
}

// Timeouts returns how long a call to a deployment may take in all, and until
// the first event of a stream.
func (f *File) Timeouts(d *Deployment) (total, stream time.Duration) {
	first := func(all ...time.Duration) time.Duration {
		for _, t := range all {
			if t > 0 {
				return t
			}
		}
		return 0
	}
	total = first(d.Params.Timeout, f.Router.Timeout, f.LiteLLM.RequestTimeout)
	return total, first(d.Params.StreamTimeout, f.Router.StreamTimeout, total)
}

// Retries returns how many further attempts a call to a deployment may have.
func (f *File) Retries(d *Deployment) int {
	for _, n := range []*int{d.Params.NumRetries, d.Params.MaxRetries, f.Router.NumRetries, f.LiteLLM.NumRetries} {
		if n != nil {
			return *n
		}
	}
	return 2
}

// DropParams returns whether parameters that a deployment's provider does not
// support are left out.
func (f *File) DropParams(d *Deployment) bool {
	if d.Params.DropParams != nil {
		return *d.Params.DropParams
	}
	return f.LiteLLM.DropParams
}

// LeaveOutUnknown reports whether a deployment whose provider does not exist is
// left out with a warning, and not an error.
func (f *File) LeaveOutUnknown() bool {
	return f.Router.IgnoreInvalid == nil || *f.Router.IgnoreInvalid
}

// VerifyOf returns how the certificate of a deployment's provider is checked.
func (f *File) VerifyOf(d *Deployment) Verify {
	if d.Params.Verify.Given {
		return d.Params.Verify
	}
	return f.LiteLLM.Verify
}
