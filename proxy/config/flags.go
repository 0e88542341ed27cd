package config

// Flags are the command-line flags of LiteLLM's proxy, and ours. Pointers are
// nil where a flag was not given. The environment is read by Load, so that .env
// and GUNICORN_CMD_ARGS count.
type Flags struct {
	Config                   string   `short:"c" name:"config" help:"Configuration file (CONFIG_FILE_PATH)."`
	Strict                   bool     `name:"strict" help:"Unknown configuration keys, and master and salt keys that can be guessed, are errors."`
	Host                     *string  `name:"host" help:"Address to listen on (HOST; 0.0.0.0)."`
	Port                     *string  `name:"port" help:"Port to listen on (PORT; 4000)."`
	NumWorkers               *string  `name:"num_workers" help:"Workers (NUM_WORKERS; one per CPU)."`
	KeepaliveTimeout         *string  `name:"keepalive_timeout" help:"Seconds that an idle connection of a client is kept (KEEPALIVE_TIMEOUT; 120)."`
	MaxRequests              *string  `name:"max_requests_before_restart" help:"Requests after which a worker is replaced (MAX_REQUESTS_BEFORE_RESTART)."`
	MaxRequestsJitter        *string  `name:"max_requests_before_restart_jitter" help:"Random part of that number (MAX_REQUESTS_BEFORE_RESTART_JITTER)."`
	LimitConcurrency         *string  `name:"limit_concurrency" help:"Requests served at once; more get 503 (LIMIT_CONCURRENCY)."`
	SSLKeyfilePath           *string  `name:"ssl_keyfile_path" help:"TLS key (SSL_KEYFILE_PATH)."`
	SSLCertfilePath          *string  `name:"ssl_certfile_path" help:"TLS certificate (SSL_CERTFILE_PATH)."`
	SSLClientCAPath          *string  `name:"ssl_client_ca_path" help:"Authorities; every TLS client needs a certificate of one (SSL_CLIENT_CA_PATH)."`
	Debug                    bool     `name:"debug" help:"Log at level info (DEBUG)."`
	DetailedDebug            bool     `name:"detailed_debug" help:"Log at level debug (DETAILED_DEBUG)."`
	Model                    string   `short:"m" name:"model" help:"Serve this model without a configuration file."`
	Alias                    string   `name:"alias" help:"Public name of --model."`
	APIBase                  string   `name:"api_base" help:"Base URL of --model."`
	APIVersion               string   `name:"api_version" help:"API version of --model."`
	Headers                  string   `name:"headers" secret:"write extra_headers with os.environ/NAME into the configuration file" help:"Headers of --model, a JSON object."`
	Temperature              *float64 `name:"temperature" help:"Default temperature of --model."`
	MaxTokens                *int     `name:"max_tokens" help:"Default max_tokens of --model."`
	RequestTimeout           *string  `name:"request_timeout" help:"Longest time of a call, in seconds (REQUEST_TIMEOUT)."`
	DropParams               bool     `name:"drop_params" help:"Leave out what a provider does not support."`
	RunGunicorn              bool     `name:"run_gunicorn" help:"Accepted; workers are always supervised."`
	RunHypercorn             bool     `name:"run_hypercorn" hidden:""`
	RunGranian               bool     `name:"run_granian" hidden:""`
	GranianThreads           *int     `name:"granian_threads" hidden:""`
	TimeoutWorkerHealthcheck *string  `name:"timeout_worker_healthcheck" hidden:""`
	Ciphers                  string   `name:"ciphers" hidden:""`
	LogConfig                string   `name:"log_config" hidden:""`
	MaxBudget                *float64 `name:"max_budget" hidden:""`
	AddFunctionToPrompt      bool     `name:"add_function_to_prompt" hidden:""`
	AddKey                   string   `name:"add_key" secret:"use /key/generate" hidden:""`
	Save                     bool     `name:"save" hidden:""`
	Local                    bool     `name:"local" hidden:""`
	UseQueue                 bool     `name:"use_queue" hidden:""`
	Telemetry                *string  `name:"telemetry" hidden:""`
	Reload                   bool     `name:"reload" hidden:""`
	UsePrismaDBPush          bool     `name:"use_prisma_db_push" hidden:""`
	EnforceMigrationCheck    bool     `name:"enforce_prisma_migration_check" hidden:""`
	UseV2Resolver            bool     `name:"use_v2_migration_resolver" hidden:""`
	UseLegacyResolver        bool     `name:"use_legacy_migration_resolver" hidden:""`
	IAMTokenDBAuth           bool     `name:"iam_token_db_auth" hidden:""`
	AzurePostgresqlAuth      bool     `name:"azure_postgresql_auth" hidden:""`
	PrometheusMetricsPort    *int     `name:"prometheus_metrics_port" hidden:""`
}

// withoutEffect names the flags that were given and do nothing, with the
// reason.
func (f *Flags) withoutEffect() map[string]string {
	out := map[string]string{}
	note := func(given bool, name, reason string) {
		if given {
			out["--"+name] = reason
		}
	}
	note(f.RunHypercorn, "run_hypercorn", "there is one server")
	note(f.RunGranian || f.GranianThreads != nil, "run_granian", "there is one server")
	note(f.Ciphers != "", "ciphers", "the cipher suites are those of Go's standard library")
	note(f.LogConfig != "", "log_config", "the log has its own settings, LITELLM_LOG and json_logs")
	note(f.MaxBudget != nil, "max_budget", "spend is not limited in this release")
	note(f.AddFunctionToPrompt, "add_function_to_prompt", "prompts are passed on as they are")
	note(f.AddKey != "" || f.Save, "save", "nothing is written to the configuration")
	note(f.UsePrismaDBPush, "use_prisma_db_push", "the schema has migrations only")
	note(f.IAMTokenDBAuth, "iam_token_db_auth", "the database takes a password in this release")
	note(f.AzurePostgresqlAuth, "azure_postgresql_auth", "the database takes a password in this release")
	note(f.PrometheusMetricsPort != nil, "prometheus_metrics_port", "metrics are on the health port")
	return out
}
