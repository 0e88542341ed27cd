package main

import (
	"strings"
	"time"
)

// cli holds the flags. Valued flags are texts that become variables of the
// environment, by which the workers and the migrator learn of them; a flag
// wins over the variable of the same name.
type cli struct {
	Run struct {
		flags
	} `cmd:"" default:"withargs" help:"Run the appliance in the foreground (default)."`
	Status struct {
		StateDir string `name:"state_dir" help:"State directory." placeholder:"DIR"`
		JSON     bool   `name:"json" help:"Print a JSON document."`
	} `cmd:"" help:"Show the slots and generations of the running appliance."`
	Upgrade struct {
		Root string `name:"root" default:"/usr/lib/sluice" placeholder:"DIR" help:"Folder of the releases."`
		Unit string `name:"unit" default:"sluice.service" placeholder:"NAME" help:"Unit that runs the appliance."`

		Watch time.Duration `name:"watch" default:"10m" placeholder:"DURATION" help:"How long a release must be ready to have proved itself."`
		Ready time.Duration `name:"ready" default:"1m" placeholder:"DURATION" help:"Within which it must be ready, and ready again."`

		Run    struct{} `cmd:"" default:"withargs" help:"Move the service onto the release that a package has brought, watch it, go back if it fails (default)."`
		Status struct {
			JSON bool `name:"json" help:"Print a JSON document."`
		} `cmd:"" help:"Say which release runs and how the last upgrade went."`
	} `cmd:"" help:"Upgrade a service that a package has installed."`
	Sweep struct {
		Unit string `name:"unit" default:"sluice.service" placeholder:"NAME" help:"Unit that runs the appliance."`
	} `cmd:"" help:"End what is left in the control group after a stop that was asked for; systemd runs it."`
}

type flags struct {
	Config     string   `short:"c" name:"config" var:"CONFIG_FILE_PATH" placeholder:"FILE" help:"Configuration file."`
	Host       string   `name:"host" var:"HOST" placeholder:"ADDR" help:"Address to listen on; :: is both families. Default 0.0.0.0."`
	Port       string   `name:"port" var:"PORT" placeholder:"N" help:"Port to listen on. Default 4000."`
	NumWorkers string   `name:"num_workers" var:"NUM_WORKERS" placeholder:"N" help:"Workers; 0 or auto is one per CPU."`
	StateDir   string   `name:"state_dir" var:"SLUICE_STATE_DIR" placeholder:"DIR" help:"State directory."`
	Listen     []string `name:"listen" placeholder:"NAME=URL" help:"Further listener: name=tcp://host:port or name=unix:///path; repeatable."`

	MaxRequests string `name:"max_requests_before_restart" var:"MAX_REQUESTS_BEFORE_RESTART" placeholder:"N" help:"Recycle a worker after so many requests."`
	Jitter      string `name:"max_requests_before_restart_jitter" var:"MAX_REQUESTS_BEFORE_RESTART_JITTER" placeholder:"N" help:"Spread of that number. Default 20 percent."`
	KeepAlive   string `name:"keepalive_timeout" var:"KEEPALIVE_TIMEOUT" placeholder:"SECONDS" help:"Idle time of client connections."`
	KeyFile     string `name:"ssl_keyfile_path" var:"SSL_KEYFILE_PATH" placeholder:"FILE" help:"TLS key."`
	CertFile    string `name:"ssl_certfile_path" var:"SSL_CERTFILE_PATH" placeholder:"FILE" help:"TLS certificate."`
	ClientCA    string `name:"ssl_client_ca_path" var:"SSL_CLIENT_CA_PATH" placeholder:"FILE" help:"Authorities; every TLS client needs a certificate of one."`
	Concurrency string `name:"limit_concurrency" var:"LIMIT_CONCURRENCY" placeholder:"N" help:"Requests in flight, beyond them 503."`
	Timeout     string `name:"request_timeout" var:"REQUEST_TIMEOUT" placeholder:"SECONDS" help:"Time for one request."`

	Strict      bool `name:"strict" help:"Unknown configuration keys, and master and salt keys that can be guessed, are errors."`
	Debug       bool `name:"debug" help:"Log at level info."`
	Detailed    bool `name:"detailed_debug" help:"Log at level debug."`
	SkipServers bool `name:"skip_server_startup" help:"Run the migrator, then exit."`

	// Flags of LiteLLM's command that change something for the workers.
	IAMAuth     bool   `name:"iam_token_db_auth" hidden:""`
	DropParams  bool   `name:"drop_params" hidden:""`
	Model       string `name:"model" short:"m" var:"SLUICE_MODEL" hidden:""`
	Alias       string `name:"alias" var:"SLUICE_MODEL_ALIAS" hidden:""`
	APIBase     string `name:"api_base" var:"SLUICE_MODEL_API_BASE" hidden:""`
	APIVersion  string `name:"api_version" var:"SLUICE_MODEL_API_VERSION" hidden:""`
	Temperature string `name:"temperature" var:"SLUICE_MODEL_TEMPERATURE" hidden:""`
	MaxTokens   string `name:"max_tokens" var:"SLUICE_MODEL_MAX_TOKENS" hidden:""`

	idleFlags
}

// idleFlags are accepted so that a command line for LiteLLM starts, and do
// nothing: they choose among Python servers, or among ways to push a schema.
type idleFlags struct {
	RunGunicorn       bool   `name:"run_gunicorn" hidden:"" idle:""`
	RunHypercorn      bool   `name:"run_hypercorn" hidden:"" idle:""`
	RunGranian        bool   `name:"run_granian" hidden:"" idle:""`
	GranianThreads    string `name:"granian_threads" hidden:"" idle:""`
	Ciphers           string `name:"ciphers" hidden:"" idle:""`
	LogConfig         string `name:"log_config" hidden:"" idle:""`
	WorkerHealthcheck string `name:"timeout_worker_healthcheck" hidden:"" idle:""`
	Headers           string `name:"headers" secret:"write extra_headers with os.environ/NAME into the configuration file" hidden:"" idle:""`
	AddKey            string `name:"add_key" secret:"use /key/generate" hidden:"" idle:""`
	Save              bool   `name:"save" hidden:"" idle:""`
	MaxBudget         string `name:"max_budget" hidden:"" idle:""`
	AddFunction       bool   `name:"add_function_to_prompt" hidden:"" idle:""`
	AzureAuth         bool   `name:"azure_postgresql_auth" hidden:"" idle:""`
	DBPush            bool   `name:"use_prisma_db_push" hidden:"" idle:""`
	MigrationCheck    bool   `name:"enforce_prisma_migration_check" hidden:"" idle:""`
	ResolverV2        bool   `name:"use_v2_migration_resolver" hidden:"" idle:""`
	ResolverLegacy    bool   `name:"use_legacy_migration_resolver" hidden:"" idle:""`
	Local             bool   `name:"local" hidden:"" idle:""`
	Test              bool   `name:"test" hidden:"" idle:""`
	TestAsync         bool   `name:"test_async" hidden:"" idle:""`
	NumRequests       string `name:"num_requests" hidden:"" idle:""`
	UseQueue          bool   `name:"use_queue" hidden:"" idle:""`
	Health            bool   `name:"health" hidden:"" idle:""`
	Telemetry         string `name:"telemetry" hidden:"" idle:""`
	Setup             bool   `name:"setup" hidden:"" idle:""`
	ValidateConfig    bool   `name:"validate_config" hidden:"" idle:""`
	Reload            bool   `name:"reload" hidden:"" idle:""`
	MetricsPort       string `name:"prometheus_metrics_port" hidden:"" idle:""`
}

// environ is what the flags say, as variables.
func (c *cli) environ() map[string]string {
	out := map[string]string{}
	eachField(&c.Run.flags, func(tag fieldTag, value string) {
		if name := tag.Get("var"); name != "" && value != "" {
			out[name] = value
		}
	})
	if c.Status.StateDir != "" {
		out["SLUICE_STATE_DIR"] = c.Status.StateDir
	}
	if len(c.Run.Listen) > 0 {
		out["SLUICE_LISTEN"] = strings.Join(c.Run.Listen, ",")
	}
	for name, on := range map[string]bool{
		"SLUICE_STRICT": c.Run.Strict, "SKIP_SERVER_STARTUP": c.Run.SkipServers,
		"IAM_TOKEN_DB_AUTH": c.Run.IAMAuth, "DROP_PARAMS": c.Run.DropParams,
	} {
		if on {
			out[name] = "true"
		}
	}
	switch {
	case c.Run.Detailed:
		out["LITELLM_LOG"] = "DEBUG"
	case c.Run.Debug:
		out["LITELLM_LOG"] = "INFO"
	}
	return out
}

// idle lists the flags that were given and mean nothing here.
func (c *cli) idle() []string {
	var out []string
	eachField(&c.Run.idleFlags, func(tag fieldTag, value string) {
		if _, ok := tag.Lookup("idle"); ok && value != "" && value != "false" {
			out = append(out, "--"+tag.Get("name"))
		}
	})
	return out
}
