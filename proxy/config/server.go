package config

import (
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/env"
)

// Server says how clients are served. It comes from flags, the environment,
// and GUNICORN_CMD_ARGS, in this order; the file has no part in it.
type Server struct {
	Host             string
	Port             int
	Workers          int           // 0 is one per CPU
	KeepAlive        time.Duration // of idle connections of clients
	MaxRequests      int           // of a worker; 0 is no bound
	MaxRequestsSlack int           // random part of MaxRequests
	StopWait         time.Duration // window of a graceful stop
	LimitConcurrency int           // requests at once; 0 is no bound
	TLSKey           string        // path; "" is plain HTTP
	TLSCert          string        // path
	TLSClientCA      string        // path; "": clients need no certificate
	RootPath         string        // prefix of every route: "" or "/prefix"
	CORSOrigins      []string      // "*" is every origin
	CORSCredentials  bool
	LogLevel         slog.Level
	JSONLogs         bool
	LogFile          string        // "" is standard error
	Environment      string        // LITELLM_ENVIRONMENT
	MaxStream        time.Duration // longest stream; 0 is no bound
}

// setting looks a value up: first the flag, then the variable, then the
// arguments of gunicorn.
type setting struct {
	report   *report
	environ  *env.Environ
	gunicorn map[string]string
}

// text returns the value and where it stands.
func (s setting) text(flag *string, flagName, variable, gunicorn string) (string, Pos) {
	if flag != nil {
		return *flag, Pos{File: "--" + flagName}
	}
	if v := s.environ.Get(variable); variable != "" && strings.TrimSpace(v) != "" {
		return v, Pos{File: variable}
	}
	if v, ok := s.gunicorn[gunicorn]; ok && gunicorn != "" {
		return v, Pos{File: "GUNICORN_CMD_ARGS"}
	}
	return "", Pos{}
}

func (s setting) whole(def, least, most int, flag *string, flagName, variable, gunicorn string) int {
	v, at := s.text(flag, flagName, variable, gunicorn)
	if strings.TrimSpace(v) == "" {
		return def
	}
	n, err := strconv.Atoi(strings.TrimSpace(v))
	if err != nil || n < least || n > most {
		s.report.errorf(at, "", "a whole number from "+strconv.Itoa(least)+" to "+strconv.Itoa(most), "is %s", quote(v))
		return def
	}
	return n
}

func (s setting) seconds(def time.Duration, flag *string, flagName, variable, gunicorn string) time.Duration {
	v, at := s.text(flag, flagName, variable, gunicorn)
	if strings.TrimSpace(v) == "" {
		return def
	}
	d, ok := env.ParseDuration(v)
	if !ok {
		s.report.errorf(at, "", Seconds.String(), "is %s", quote(v))
		return def
	}
	return d
}

func (s setting) bool(variable string) bool {
	on, err := s.environ.Bool(variable, false)
	if err != nil {
		s.report.errorf(Pos{File: variable}, "", "true or false", "is %s", quote(s.environ.Get(variable)))
	}
	return on
}

const most = 1 << 30

// server reads the settings of the server.
func (f *File) server(r *report, flags *Flags) {
	s := setting{r, f.Environ, gunicornArgs(f.Environ.Get("GUNICORN_CMD_ARGS"))}
	v := &f.Server
	host, port := bind(s.gunicorn["bind"])
	if host != "" {
		s.gunicorn["host"] = host
	}
	if port != "" {
		s.gunicorn["port"] = port
	}
	v.Host, _ = s.text(flags.Host, "host", "HOST", "host")
	if v.Host == "" {
		v.Host = "0.0.0.0"
	}
	v.Port = s.whole(4000, 0, 65535, flags.Port, "port", "PORT", "port")
	v.Workers = s.workers(flags.NumWorkers)
	v.KeepAlive = s.seconds(2*time.Minute, flags.KeepaliveTimeout, "keepalive_timeout", "KEEPALIVE_TIMEOUT", "keep-alive")
	v.MaxRequests = s.whole(0, 0, most, flags.MaxRequests, "max_requests_before_restart", "MAX_REQUESTS_BEFORE_RESTART", "max-requests")
	v.MaxRequestsSlack = s.whole(0, 0, most, flags.MaxRequestsJitter, "max_requests_before_restart_jitter", "MAX_REQUESTS_BEFORE_RESTART_JITTER", "max-requests-jitter")
	v.LimitConcurrency = s.whole(0, 0, most, flags.LimitConcurrency, "limit_concurrency", "LIMIT_CONCURRENCY", "")
	v.StopWait = s.seconds(time.Hour, nil, "", "SUPERVISORD_STOPWAITSECS", "graceful-timeout")
	v.MaxStream = s.seconds(0, nil, "", "LITELLM_MAX_STREAMING_DURATION_SECONDS", "")
	v.TLSKey, _ = s.text(flags.SSLKeyfilePath, "ssl_keyfile_path", "SSL_KEYFILE_PATH", "keyfile")
	v.TLSCert, _ = s.text(flags.SSLCertfilePath, "ssl_certfile_path", "SSL_CERTFILE_PATH", "certfile")
	if (v.TLSKey == "") != (v.TLSCert == "") {
		r.errorf(Pos{File: "--ssl_keyfile_path"}, "", "both --ssl_keyfile_path and --ssl_certfile_path, or neither", "one of the two is missing")
	}
	v.TLSClientCA, _ = s.text(flags.SSLClientCAPath, "ssl_client_ca_path", "SSL_CLIENT_CA_PATH", "")
	if v.TLSClientCA != "" && v.TLSCert == "" {
		r.errorf(Pos{File: "--ssl_client_ca_path"}, "", "it beside --ssl_certfile_path and --ssl_keyfile_path", "clients cannot show certificates without TLS")
	}
	v.RootPath = rootPath(f.Environ.Get("SERVER_ROOT_PATH"))
	v.CORSOrigins = origins(f.Environ.Get("LITELLM_CORS_ORIGINS"))
	v.CORSCredentials = s.bool("LITELLM_CORS_ALLOW_CREDENTIALS")
	if v.CORSCredentials && slices.Contains(v.CORSOrigins, "*") {
		r.warnf(Pos{File: "LITELLM_CORS_ALLOW_CREDENTIALS"}, "", "has no effect for every origin: name the origins in LITELLM_CORS_ORIGINS")
	}
	v.Environment = f.Environ.Get("LITELLM_ENVIRONMENT")
	v.LogFile = f.Environ.Get("LITELLM_LOG_FILE")
	v.JSONLogs = f.LiteLLM.JSONLogs || s.bool("JSON_LOGS")
	f.logLevel(s, flags)
	for name, reason := range flags.withoutEffect() {
		r.warnf(Pos{File: name}, "", "is ignored: %s", reason)
	}
	for name := range s.gunicorn {
		if !slices.Contains(gunicornKnown, name) && name != "host" && name != "port" {
			r.add(Note, Pos{File: "GUNICORN_CMD_ARGS"}, "", "--"+name+" has no effect", "")
		}
	}
}

// workers reads the number of workers: 0, absent, empty, auto and a $(nproc)
// that no shell has replaced mean one per CPU.
func (s setting) workers(flag *string) int {
	v, _ := s.text(flag, "num_workers", "NUM_WORKERS", "workers")
	switch strings.ToLower(strings.TrimSpace(v)) {
	case "", "0", "auto", "$(nproc)", "`nproc`":
		return 0
	}
	return s.whole(0, 0, 1024, flag, "num_workers", "NUM_WORKERS", "workers")
}

// logLevel follows LITELLM_LOG, and the switches for debugging.
func (f *File) logLevel(s setting, flags *Flags) {
	f.Server.LogLevel = slog.LevelInfo
	if name := f.Environ.Get("LITELLM_LOG"); name != "" {
		switch strings.ToUpper(strings.TrimSpace(name)) {
		case "DEBUG":
			f.Server.LogLevel = slog.LevelDebug
		case "INFO":
		case "WARNING", "WARN":
			f.Server.LogLevel = slog.LevelWarn
		case "ERROR", "CRITICAL":
			f.Server.LogLevel = slog.LevelError
		default:
			s.report.warnf(Pos{File: "LITELLM_LOG"}, "", "is %s; allowed: DEBUG, INFO, WARNING, ERROR", quote(name))
		}
	}
	if flags.Debug || s.bool("DEBUG") {
		f.Server.LogLevel = min(f.Server.LogLevel, slog.LevelInfo)
	}
	if flags.DetailedDebug || s.bool("DETAILED_DEBUG") || f.LiteLLM.SetVerbose {
		f.Server.LogLevel = slog.LevelDebug
	}
}

func rootPath(s string) string {
	s = strings.Trim(strings.TrimSpace(s), "/")
	if s == "" {
		return ""
	}
	return "/" + s
}

func origins(s string) []string {
	out := []string{}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	if len(out) == 0 {
		return []string{"*"}
	}
	return out
}

// gunicornKnown are the arguments of gunicorn that have a meaning here.
var gunicornKnown = []string{
	"bind", "workers", "keep-alive", "timeout", "graceful-timeout", "max-requests", "max-requests-jitter", "keyfile", "certfile",
}

// gunicornShort are the short forms of those.
var gunicornShort = map[string]string{"-b": "bind", "-w": "workers", "-t": "timeout"}

// gunicornArgs reads the arguments of gunicorn, in both forms: "--name value"
// and "--name=value".
func gunicornArgs(line string) map[string]string {
	out := map[string]string{}
	words := shellWords(line)
	for i := 0; i < len(words); i++ {
		name, value, joined := strings.Cut(words[i], "=")
		long, ok := strings.CutPrefix(name, "--")
		if !ok {
			if long, ok = gunicornShort[name]; !ok {
				continue
			}
		}
		if !joined && i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
			i++
			value = words[i]
		}
		out[strings.ReplaceAll(long, "_", "-")] = value
	}
	return out
}

// shellWords splits a line at blanks that are not in quotes.
func shellWords(line string) []string {
	var out []string
	var word strings.Builder
	var mark rune
	inside := false
	for _, c := range line {
		switch {
		case mark != 0 && c == mark:
			mark = 0
		case mark != 0:
			word.WriteRune(c)
		case c == '"' || c == '\'':
			mark, inside = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if inside {
				out = append(out, word.String())
				word.Reset()
			}
			inside = false
		default:
			word.WriteRune(c)
			inside = true
		}
	}
	if inside {
		out = append(out, word.String())
	}
	return out
}

// bind splits gunicorn's address. A unix socket is given back as host.
func bind(s string) (host, port string) {
	if s == "" || strings.HasPrefix(s, "unix:") {
		return s, ""
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return strings.Trim(s, "[]"), ""
	}
	return host, port
}
