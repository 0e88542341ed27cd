package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

const masterKey = "sk-benchmark-0123456789abcdef0123456789"

// place is where a contender runs.
type place struct {
	dir      string // its own
	addr     string // to listen on
	spare    string // another free address
	upstream string
	cpus     int // how many it has
	bin      string
	beat     string // the script of the streams that are measured
	database string // URL of a PostgreSQL database, where one was named
	redis    string // host:port, where one was named
}

// contender is one way to the upstream.
type contender struct {
	name    string
	models  bool // it chooses the upstream's script by model, the others by path
	files   func(*place) map[string]string
	command func(*place) []string // nil: the upstream itself
	env     func(*place) []string // added to a minimal environment

	// virtual makes the key that the load is sent with, once the contender
	// answers; nil: the master key.
	virtual func(context.Context, *process) (string, error)

	upstream bool // it is what the others have behind them

	ships bool   // its rows are shipped after the requests, and measured apart
	needs string // an option that it cannot do without
}

// contenders in the order of the table.
var contenders = []contender{
	{name: "direct"},
	{name: "nginx", files: nginxFiles, command: func(p *place) []string {
		return []string{"nginx", "-p", p.dir, "-c", filepath.Join(p.dir, "nginx.conf"), "-e", filepath.Join(p.dir, "error.log"), "-g", "daemon off;"}
	}},
	{name: "haproxy", files: haproxyFiles, command: func(p *place) []string {
		return []string{"haproxy", "-db", "-f", filepath.Join(p.dir, "haproxy.cfg")}
	}},
	{name: "bare", command: func(p *place) []string {
		return []string{filepath.Join(p.dir, "..", "bareproxy"), "--addr", p.addr, "--upstream", p.upstream}
	}},
	sluice("sluice", 0),
	withVirtualKey(sluice("sluice-key", 0), ""),
	sluice("sluice-1", 1),
	withEverything(sluice("sluice-limits", 0)),
	withEverything(onDatabase(sluice("sluice-limits-pg", 0))),
	withEverything(withRedis(sluice("sluice-limits-redis", 0))),
}

func names() []string {
	all := make([]string, 0, len(contenders))
	for _, c := range contenders {
		all = append(all, c.name)
	}
	return all
}

// files is how many a process may open here.
func files() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Cur, 65536))
}

func nginxFiles(p *place) map[string]string {
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n"
	}
	return map[string]string{"nginx.conf": user + `worker_processes ` + strconv.Itoa(p.cpus) + `;
pid ` + p.dir + `/nginx.pid;
events { worker_connections ` + strconv.Itoa(files()-64) + `; }
http {
  access_log off;
  client_body_temp_path ` + p.dir + `/body;
  proxy_temp_path ` + p.dir + `/proxy;
  fastcgi_temp_path ` + p.dir + `/fastcgi;
  uwsgi_temp_path ` + p.dir + `/uwsgi;
  scgi_temp_path ` + p.dir + `/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  tcp_nodelay on;
  upstream provider {
    server ` + p.upstream + `;
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
  }
  server {
    listen ` + p.addr + ` backlog=4096;
    client_body_buffer_size 64k;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_read_timeout 600s;
    location / { proxy_pass http://provider; }
    location ~ every= { proxy_buffering off; proxy_pass http://provider; }
  }
}
`}
}

func haproxyFiles(p *place) map[string]string {
	return map[string]string{"haproxy.cfg": `global
  maxconn ` + strconv.Itoa((files()-200)/2) + `
defaults
  mode http
  option http-keep-alive
  option http-no-delay
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 300s
frontend in
  bind ` + p.addr + ` backlog 4096
  default_backend provider
backend provider
  server provider ` + p.upstream + `
`}
}

// sluice is the whole appliance: supervisor, workers, healthd; its journals,
// logs and heartbeats are paid for by its requests.
func sluice(name string, workers int) contender {
	return contender{
		name: name, models: true,
		files: func(p *place) map[string]string {
			return map[string]string{"config.yaml": fmt.Sprintf(`model_list:
  - model_name: bench
    litellm_params: {model: openai/bench, api_key: sk-upstream, api_base: "http://%[1]s/v1"}
  - model_name: bench-stream
    litellm_params: {model: openai/bench, api_key: sk-upstream, api_base: "http://%[1]s/%[2]s/v1"}
  - model_name: bench-slow
    litellm_params: {model: openai/bench, api_key: sk-upstream, api_base: "http://%[1]s/%[3]s/v1"}
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
`, p.upstream, p.beat, slowBeat)}
		},
		command: func(p *place) []string {
			host, port := split(p.addr)
			args := []string{filepath.Join(p.bin, "supervisor"), "--config", filepath.Join(p.dir, "config.yaml"), "--host", host, "--port", port, "--state_dir", filepath.Join(p.dir, "state")}
			if workers > 0 {
				args = append(args, "--num_workers", strconv.Itoa(workers))
			}
			return args
		},
		env: func(p *place) []string {
			_, health := split(p.spare)
			return []string{"LITELLM_MASTER_KEY=" + masterKey, "SEPARATE_HEALTH_PORT=" + health, "SLUICE_PRESTOP_DELAY=0", "LITELLM_MODE=PRODUCTION", "LITELLM_LOG=ERROR"} // no access log, as nginx has none here
		},
	}
}
