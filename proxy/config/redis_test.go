package config

import (
	"strings"
	"testing"
)

func TestRedis(t *testing.T) {
	type where struct {
		host     string
		port     int
		user     string
		password string
		db       int
		tls      bool
	}
	for _, c := range []struct {
		name, file string
		environ    []string
		want       where
	}{
		{"nothing", "", nil, where{port: 6379}},
		{"keys", "{redis_host: h, redis_port: 1, redis_password: p, redis_username: u, redis_db: 4, redis_ssl: true}", nil, where{"h", 1, "u", "p", 4, true}},
		{"variables", "", []string{"REDIS_HOST=h", "REDIS_PORT=2", "REDIS_PASSWORD=p", "REDIS_DB=3"}, where{host: "h", port: 2, password: "p", db: 3}},
		{"key over variable", "{redis_host: h, redis_db: 0}", []string{"REDIS_HOST=other", "REDIS_DB=3"}, where{host: "h", port: 6379}},
		{"url over keys", "{redis_url: 'redis://u:p%40w@a:7000/5', redis_host: h, redis_port: 1, redis_password: q, redis_db: 9}", nil, where{"a", 7000, "u", "p@w", 5, false}},
		{"url with tls", "{redis_url: 'rediss://:p@[::1]'}", nil, where{"::1", 6379, "", "p", 0, true}},
		{"url with db as query", "{redis_url: 'redis://a?db=6'}", nil, where{host: "a", port: 6379, db: 6}},
		{"unix", "{redis_url: 'unix://u:p@/run/redis.sock?db=2'}", nil, where{"/run/redis.sock", 6379, "u", "p", 2, false}},
		{"url variable over variables", "", []string{"REDIS_URL=redis://a/1", "REDIS_HOST=h", "REDIS_PASSWORD=p"}, where{host: "a", port: 6379, db: 1}},
		{"host over url variable", "{redis_host: h}", []string{"REDIS_URL=redis://a/1"}, where{host: "h", port: 6379}},
	} {
		f := must(t, "router_settings: "+c.file, environ(c.environ...))
		r := f.Router
		if got := (where{r.RedisHost, r.RedisPort, r.RedisUsername, r.RedisPassword.Reveal(), r.RedisDB, r.RedisTLS}); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	for _, bad := range []string{"http://x:secret@y", "redis://", "redis://:secret@h:99999", "redis://h/secret/x", "redis://h/-1", "redis://h:secret"} {
		f, problems := loadText(t, "router_settings: {redis_url: '"+bad+"'}", environ())
		text := problems.String()
		if f != nil || !strings.Contains(text, "router_settings.redis_url") || strings.Contains(text, ":secret@") {
			t.Errorf("%s: loaded %v, %s", bad, f != nil, text)
		}
	}
}

func TestRedisPlaces(t *testing.T) {
	for _, c := range []struct {
		name, file string
		environ    []string
		want       func(r *Router) bool
	}{
		{
			"cluster", "router_settings: {redis_startup_nodes: [{host: a, port: 7000}, {host: b}], redis_password: p}",
			[]string{"REDIS_HOST=h"},
			func(r *Router) bool {
				return strings.Join(r.RedisNodes, " ") == "a:7000 b:6379" && r.RedisHost == "" && r.RedisPassword.Reveal() == "p"
			},
		},
		{
			"cluster of the environment", "",
			[]string{`REDIS_CLUSTER_NODES=[{"host": "a", "port": "7001"}]`, "REDIS_PASSWORD=p", "REDIS_URL=redis://x"},
			func(r *Router) bool {
				return strings.Join(r.RedisNodes, " ") == "a:7001" && r.RedisPassword.Reveal() == "p" && r.RedisHost == ""
			},
		},
		{
			"sentinels", "router_settings: {sentinel_nodes: [[s1, 26379], [s2, 26380]], service_name: m, sentinel_password: sp}", nil,
			func(r *Router) bool {
				return strings.Join(r.RedisSentinels, " ") == "s1:26379 s2:26380" && r.RedisService == "m" && r.SentinelSecret.Reveal() == "sp"
			},
		},
		{
			"sentinels of the environment", "",
			[]string{`REDIS_SENTINEL_NODES=[["::1", 26379]]`, "REDIS_SERVICE_NAME=m", "REDIS_SENTINEL_PASSWORD=sp"},
			func(r *Router) bool {
				return strings.Join(r.RedisSentinels, " ") == "[::1]:26379" && r.RedisService == "m" && r.SentinelSecret.Reveal() == "sp"
			},
		},
		{
			"cache_params", "litellm_settings: {cache: true, cache_params: {type: redis, host: c, port: 1, password: p, ssl: true, ssl_cert_reqs: none, ttl: 600, namespace: n}}",
			[]string{"REDIS_HOST=other"},
			func(r *Router) bool {
				return r.RedisHost == "c" && r.RedisPort == 1 && r.RedisPassword.Reveal() == "p" && r.RedisTLS && r.RedisReqs == "none"
			},
		},
		{
			"cache_params that are off", "litellm_settings: {cache: false, cache_params: {host: c}}",
			[]string{"REDIS_HOST=other"},
			func(r *Router) bool { return r.RedisHost == "other" },
		},
		{
			"cache_params of another type", "litellm_settings: {cache: true, cache_params: {type: s3, host: c}}", nil,
			func(r *Router) bool { return r.RedisHost == "" },
		},
		{
			"cache_params with nodes", "litellm_settings: {cache: true, cache_params: {type: redis, redis_startup_nodes: [{host: a, port: 1}]}}", nil,
			func(r *Router) bool { return strings.Join(r.RedisNodes, " ") == "a:1" },
		},
		{
			"cache_kwargs beside redis_host", "router_settings: {redis_host: h, cache_kwargs: {host: other, password: p, db: 3, ssl_check_hostname: false}}", nil,
			func(r *Router) bool {
				return r.RedisHost == "h" && r.RedisPassword.Reveal() == "p" && r.RedisDB == 3 && r.RedisHostname != nil && !*r.RedisHostname
			},
		},
		{
			"tls of the environment", "router_settings: {redis_host: h}",
			[]string{"REDIS_SSL=true", "REDIS_SSL_CA_CERTS=/ca", "REDIS_SSL_CERTFILE=/c", "REDIS_SSL_KEYFILE=/k", "REDIS_SSL_CERT_REQS=CERT_NONE", "REDIS_SSL_CHECK_HOSTNAME=false"},
			func(r *Router) bool {
				return r.RedisTLS && r.RedisCA == "/ca" && r.RedisCert == "/c" && r.RedisKey == "/k" && r.RedisReqs == "none" && !*r.RedisHostname
			},
		},
	} {
		if f := must(t, c.file, environ(c.environ...)); !c.want(&f.Router) {
			t.Errorf("%s: %+v", c.name, f.Router.Redis)
		}
	}
	for says, bad := range map[string][2]string{
		"router_settings.redis_startup_nodes": {"router_settings: {redis_startup_nodes: [{port: 1}]}"},
		"router_settings.sentinel_nodes":      {"router_settings: {sentinel_nodes: [[h, many]], service_name: m}"},
		"router_settings.service_name":        {"router_settings: {sentinel_nodes: [[h, 1]]}"},
		"stands beside redis_startup_nodes":   {"router_settings: {sentinel_nodes: [[h, 1]], service_name: m, redis_startup_nodes: [{host: h}]}"},
		"router_settings.redis_db":            {"router_settings: {redis_startup_nodes: [{host: h}], redis_db: 2}"},
		"router_settings.ssl_cert_reqs":       {"router_settings: {redis_host: h, ssl_cert_reqs: perhaps}"},
		"litellm_settings.cache_params":       {"litellm_settings: {cache: true, cache_params: {host: h, port: many}}"},
		"REDIS_CLUSTER_NODES":                 {"", `REDIS_CLUSTER_NODES={"host": 1}`},
		"REDIS_SSL_CERT_REQS":                 {"", "REDIS_SSL_CERT_REQS=perhaps"},
	} {
		f, problems := loadText(t, bad[0], environ(bad[1]))
		if f != nil || !strings.Contains(problems.String(), says) {
			t.Errorf("%s: loaded %v, %s", says, f != nil, problems)
		}
	}
}
