package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"sluice/internal/boot"
	"sluice/proxy/admin"
	"sluice/proxy/auth"
	"sluice/proxy/config"
	"sluice/proxy/gateway"
	"sluice/proxy/provider"
	"sluice/proxy/route"
	"sluice/proxy/seal"
	"sluice/proxy/server"
	"sluice/proxy/upstream"
	"sluice/supervisor/fleet"
)

// build turns the configuration into what serves it.
func (w *worker) build() error {
	quiet := w.log.Logger
	if w.link != nil { // the supervisor has said it once for all workers
		quiet = slog.New(slog.DiscardHandler)
	}
	file, err := w.loadOrKeep(quiet)
	if err != nil {
		return err
	}
	if err := w.setLog(file); err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	if err := w.findMasterKey(file); err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	w.metrics = gateway.NewMetrics(file.LiteLLM.PrometheusLatencyBuckets)
	w.pools = upstream.NewPools(poolSettings(file))
	if err := w.connect(file); err != nil {
		return err
	}
	if err := w.account(file); err != nil {
		return err
	}
	plain := file
	if w.overlay = w.firstOverlay(context.Background(), file); w.overlay != nil {
		file = w.overlaidFile(file)
	}
	g, api, err := w.generation(file, w.applied+1)
	if err != nil && w.overlay != nil {
		w.log.Error("what the database holds could not be put in force", errAttr(err))
		w.overlay, file = nil, plain
		g, api, err = w.generation(file, w.applied+1)
	}
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	if w.server, err = server.New(w.serverConfig(file, api), g); err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	w.use(file)
	return nil
}

// connect looks at the dependencies, and opens the database as far as there is
// one. A database that is away keeps nobody from serving.
func (w *worker) connect(file *config.File) error {
	deps, err := w.dependencies(file)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	w.postgres = deps.Postgres
	if w.data, err = w.openData(file, deps); err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	deps.NeedsDatabase = deps.NeedsDatabase && !w.data.remembers()
	if w.observing, err = w.observe(deps); err != nil {
		return err
	}
	if w.data == nil {
		return nil
	}
	before := w.data.ring()
	if err := w.data.start(w.observing.away, func() *seal.Ring { return w.goodRing(file) }); err != nil {
		return err
	}
	if !w.data.fromGood {
		w.keepKeyring(file, before)
	}
	return nil
}

// generation makes what serves a configuration: both parts of it, or none.
func (w *worker) generation(file *config.File, number uint64) (*gateway.Gateway, *admin.API, error) {
	keys := auth.New(w.keysConfig(file))
	costs, err := newPrices(file, w.once)
	if err != nil {
		return nil, nil, err
	}
	g, err := w.gateway(file, keys, costs, number)
	if err != nil {
		return nil, nil, err
	}
	manage, err := w.adminConfig(file, keys, costs)
	if err != nil {
		return nil, nil, err
	}
	api, err := admin.New(manage)
	return g, api, err
}

// apply puts a configuration that was read again in force.
func (w *worker) apply(file *config.File) error {
	g, api, err := w.generation(file, w.applied+1)
	if err != nil {
		return err
	}
	if err := w.setLog(file); err != nil {
		return err
	}
	w.server.Swap(g, rules(file, api))
	w.use(file)
	return nil
}

// swap puts the same configuration in force with what the database now holds
// beside it. It has the number that it had.
func (w *worker) swap(file *config.File) error {
	g, api, err := w.generation(file, w.applied)
	if err != nil {
		return err
	}
	w.server.Swap(g, rules(file, api))
	return nil
}

// use notes the configuration that is in force now.
func (w *worker) use(file *config.File) {
	w.config, w.applied = file, w.applied+1
	w.setStoring(file)
	w.keepGood()
	applied := &w.table.Header().ConfigApplied
	for old := applied.Load(); old < w.applied && !applied.CompareAndSwap(old, w.applied); old = applied.Load() {
	}
}

// setLog gives the log its form, and its file where one is named. The file is
// opened again at each reload, so that it can be rotated.
func (w *worker) setLog(file *config.File) error {
	if path := file.Server.LogFile; path != "" {
		if err := w.logFile.open(path); err != nil {
			return err
		}
		w.log.SetWriter(&w.logFile)
	}
	w.log.SetLevel(file.Server.LogLevel)
	w.log.SetJSON(file.Server.JSONLogs)
	return nil
}

// findMasterKey takes the stored key, or makes one, where none is configured.
func (w *worker) findMasterKey(file *config.File) error {
	if file.General.MasterKey != "" {
		return nil
	}
	key, made, err := storedMasterKey(w.dir)
	if err != nil {
		return err
	}
	w.masterKey = key
	if made {
		w.log.Warn("no master key is configured, so one was made", slog.String("key_file", w.dir.MasterKey()))
	}
	return nil
}

func (w *worker) gateway(file *config.File, keys *auth.Keys, costs *prices, number uint64) (*gateway.Gateway, error) {
	limits, err := timeLimits(file)
	if err != nil {
		return nil, err
	}
	c := gateway.Config{
		Generation: number,
		Keys:       keys,
		Aliases:    aliases(file),
		Rewrite:    file.LiteLLM.ModelAliases,
		Force:      file.General.CompletionModel,
		Retries:    retries(file),
		RetryAfter: file.Router.RetryAfter,
		Limits:     limits,

		AlwaysUsage: file.General.AlwaysIncludeStreamUsage,
		AllowMock:   file.General.AllowMockTestingParams,
		Forward: gateway.Forward{
			Headers: file.General.ForwardClientHeaders, Organization: file.General.ForwardOpenAIOrg, KeyHeader: file.General.KeyHeader,
		},
		AllowClient: file.General.AllowClientSideCredentials,
		Lenient:     file.Compat.LenientJSON,

		Agent:   "sluice/" + boot.Version,
		Lookup:  file.Variable,
		Pools:   w.pools,
		Metrics: w.metrics,
		Log:     w.log,
		Terms:   terms(file),
	}
	if a := w.accounting; a != nil {
		c.Limiter, c.Budgets = a.limiter, a.budgets
		if a.journal != nil {
			c.Journal = a.journal
		}
	}
	c.Models = models(file, costs, func(*config.Deployment) bool { return true })
	g, warnings, err := gateway.New(c)
	if err != nil && file.General.StoreModels {
		// One of the database's deployments may be to blame: it is left out, and
		// the others are served.
		c.Models = models(file, costs, func(d *config.Deployment) bool { return !d.Stored || w.tried(file, d) == nil })
		g, warnings, err = gateway.New(c)
	}
	for _, warning := range warnings {
		w.once(warning)
	}
	costs.unpriced()
	return g, err
}

// tried makes a gateway of one deployment alone, to see whether it can be.
func (w *worker) tried(file *config.File, d *config.Deployment) error {
	pools := upstream.NewPools(poolSettings(file))
	defer pools.Close()
	_, _, err := gateway.New(gateway.Config{Models: []gateway.Model{model(file, d)}, Lookup: file.Variable, Pools: pools})
	return err
}

// once says what every worker would say alike: the first slot does.
func (w *worker) once(warning string) {
	if w.slot == 0 {
		w.log.Warn("configuration", slog.String("problem", warning))
	}
}

func timeLimits(file *config.File) (gateway.Limits, error) {
	l := gateway.Limits{
		Request: file.LiteLLM.RequestTimeout, Timeout: file.Router.Timeout,
		Stream: file.Router.StreamTimeout, Duration: file.Server.MaxStream,
	}
	if file.General.MaxResponseMB > 0 {
		l.Answer = int(file.General.MaxResponseMB * (1 << 20))
	}
	if l.Request < 0 || l.Timeout < 0 {
		return l, errors.New("a timeout is negative")
	}
	return l, nil
}

func retries(file *config.File) int {
	for _, n := range []*int{file.Router.NumRetries, file.LiteLLM.NumRetries} {
		if n != nil {
			return *n
		}
	}
	return 2
}

func aliases(file *config.File) map[string]route.Alias {
	out := make(map[string]route.Alias, len(file.Router.Aliases))
	for _, a := range file.Router.Aliases {
		if file.General.StoreModels && !file.Names(a.Model) {
			continue // it is warned of; its model may come back over the API
		}
		out[a.Name] = route.Alias{Model: a.Model, Hidden: a.Hidden}
	}
	return out
}

// models are the deployments that this release can serve and that are wanted;
// deploymentProblems has named the others.
func models(file *config.File, costs *prices, wanted func(*config.Deployment) bool) []gateway.Model {
	var out []gateway.Model
	known := limits{book: costs.book}
	for _, d := range file.Models {
		m := model(file, d)
		if !d.Info.Blocked && servable(m.Params, file) == nil && wanted(d) {
			known.fill(&m, d.Info.BaseModel)
			costs.fill(&m, d)
			out = append(out, m)
		}
	}
	return out
}

func servable(p provider.Params, file *config.File) error {
	if p.Model == "*" && p.Provider == "" {
		return nil // stands for every provider with a key
	}
	_, err := provider.Bind(p, file.Variable)
	return err
}

// deploymentProblems lists the deployments that no provider of this release
// serves. They are left out, unless ignore_invalid_deployments is false.
func deploymentProblems(file *config.File) config.Problems {
	var out config.Problems
	for i, d := range file.Models {
		m := model(file, d)
		err := servable(m.Params, file)
		if err == nil {
			plain := strings.HasPrefix(m.Params.APIBase, "http://") || m.Params.Mock != nil
			if err := upstream.CheckFiles(m.Upstream); err != nil && !plain && !d.Stored && !d.Info.Blocked {
				out = append(out, config.Problem{
					At: d.At, Severity: config.Error, Text: err.Error() + ": correct the path, or the file",
					Key: fmt.Sprintf("model_list[%d].litellm_params", i),
				})
			}
			continue
		}
		p := config.Problem{
			At: d.At, Severity: config.Error, Text: err.Error(),
			Key: fmt.Sprintf("model_list[%d].litellm_params.model", i),
		}
		if d.Stored {
			p.Key = "models." + d.ID + ".litellm_params.model"
		}
		if d.Stored || file.LeaveOutUnknown() {
			p.Severity, p.Text = config.Warning, p.Text+"; the deployment is left out"
		}
		out = append(out, p)
	}
	return out
}

func model(file *config.File, d *config.Deployment) gateway.Model {
	p := &d.Params
	m := gateway.Model{
		Name: d.Name, ID: d.ID, RPM: p.RPM, TPM: p.TPM, Retries: -1,
		Timeout: p.Timeout, StreamTimeout: p.StreamTimeout,
		Upstream: upstreamOptions(file, d),
		Params: provider.Params{
			Model: p.Model, Provider: p.Provider, APIKey: p.APIKey.Reveal(), APIBase: p.APIBase,
			APIVersion: p.APIVersion, Organization: p.Organization, Drop: p.DropAlso, Allow: p.AllowAlso,
			DropRefused: file.DropParams(d), Mock: p.MockResponse, MockDelay: p.MockDelay,
		},
	}
	m.AccessGroups, m.Team = d.Info.AccessGroups, d.Info.TeamID
	m.Info = route.Limits{Mode: d.Info.Mode, MaxInput: d.Info.MaxInputTokens, MaxOutput: d.Info.MaxOutputTokens}
	if m.Info.MaxOutput == 0 {
		m.Info.MaxOutput = d.Info.MaxTokens
	}
	m.Terms = modelTerms(file, d)
	if p.Weight != nil {
		m.Weight = int64(*p.Weight * 1000) // fractions count
	}
	if p.Order != nil {
		m.Order = *p.Order
	}
	for _, n := range []*int{p.NumRetries, p.MaxRetries} {
		if n != nil && m.Retries < 0 {
			m.Retries = *n
		}
	}
	for _, c := range p.ClientSide {
		m.Client = append(m.Client, gateway.ClientParam{Name: c.Name, Pattern: c.Pattern})
	}
	for _, h := range p.ExtraHeaders {
		m.Params.Headers = append(m.Params.Headers, provider.Header{Name: h.Name, Value: h.Value.Reveal()})
	}
	for _, f := range p.Defaults {
		m.Params.Defaults = append(m.Params.Defaults, provider.Param{Name: f.Name, JSON: f.JSON})
	}
	for _, f := range p.ExtraBody {
		m.Params.Extra = append(m.Params.Extra, provider.Param{Name: f.Name, JSON: f.JSON})
	}
	return m
}

func upstreamOptions(file *config.File, d *config.Deployment) upstream.Options {
	p, verify := &d.Params, file.VerifyOf(d)
	o := upstream.Options{
		Proxy: p.Proxy.Reveal(), InsecureSkipVerify: verify.Skip, CAFile: verify.CAFile,
		CertFile: p.SSLCertificate, KeyFile: p.SSLKey, ServerName: p.ServerName,
		ForceIPv4: file.LiteLLM.ForceIPv4, UnixSocket: p.UnixSocket,
	}
	if o.CertFile == "" {
		o.CertFile = file.LiteLLM.SSLCertificate
	}
	if p.ForceIPv4 != nil {
		o.ForceIPv4 = *p.ForceIPv4
	}
	return o
}

func poolSettings(file *config.File) upstream.Settings {
	either := func(names ...string) string {
		for _, name := range names {
			if v := file.Environ.Get(name); v != "" {
				return v
			}
		}
		return ""
	}
	return upstream.Settings{
		HTTPProxy:  either("http_proxy", "HTTP_PROXY"),
		HTTPSProxy: either("https_proxy", "HTTPS_PROXY"),
		NoProxy:    either("no_proxy", "NO_PROXY"),
	}
}

func (w *worker) serverConfig(file *config.File, api *admin.API) server.Config {
	c := server.Config{
		Version: boot.Version, RootPath: file.Server.RootPath,
		Rules:         rules(file, api),
		BodyAllowance: bodyAllowance(file),
		KeepAlive:     file.Server.KeepAlive,
		CORSOrigins:   file.Server.CORSOrigins, CORSCredentials: file.Server.CORSCredentials,
		CertFile: file.Server.TLSCert, KeyFile: file.Server.TLSKey, ClientCAFile: file.Server.TLSClientCA,
		Metrics: w.writeMetrics, Counted: w.counted, Panicked: w.panicked,
		Log: w.log.Logger, Table: w.table, Area: w.area, Slot: w.slot,
		Concurrency: int64(file.Server.LimitConcurrency),
		DocsPath:    file.General.URL, SpecPath: file.General.SpecURL, RootURL: file.General.RootURL,
	}
	if w.link != nil {
		c.HealthSocket = w.dir.Health()
	}
	return c
}

// rules are the settings of the server that a reload changes.
func rules(file *config.File, api *admin.API) server.Rules {
	forwarded := file.General.UseXForwardedFor
	return server.Rules{
		MaxBody: int64(file.General.MaxRequestMB * (1 << 20)), KeyHeader: file.General.KeyHeader,
		MetricsAuth: file.LiteLLM.RequireAuthForMetrics, IgnoreForwarded: forwarded != nil && !*forwarded,
		Manager: api, Disabled: file.General.DisabledRouters,
	}
}

// bodyAllowance is a quarter of the worker's memory limit, or the server's
// default where it has none.
func bodyAllowance(file *config.File) int64 {
	n, ok := memoryLimit(file.Environ.Get("GOMEMLIMIT"))
	if !ok {
		return 0
	}
	return n / 4
}

// leaveMetrics writes what the worker counted to where healthd finds it.
func (w *worker) leaveMetrics() error {
	if w.link == nil {
		return nil
	}
	path := w.dir.Metrics(w.slot, w.number)
	f, err := os.CreateTemp(filepath.Dir(path), ".metrics-")
	if err != nil {
		return err
	}
	w.writeMetrics(f)
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
