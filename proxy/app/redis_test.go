package app

import (
	"bytes"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/boot"
	"sluice/internal/redistest"
	"sluice/proxy/config"
	"sluice/proxy/redis"
	"sluice/supervisor/fleet"
)

func routed(address string) *config.File {
	f := &config.File{}
	host, port, _ := net.SplitHostPort(address)
	f.Router.RedisHost = host
	for _, c := range port {
		f.Router.RedisPort = 10*f.Router.RedisPort + int(c-'0')
	}
	return f
}

// TestCheckRedis: a server that cannot be used fails a check, one that is out
// of reach only a strict one; a start fails where it is strict.
func TestCheckRedis(t *testing.T) {
	s := redistest.New(t)
	mine := routed(s.Addr)
	none := &config.File{}
	away := routed("127.0.0.1:1")
	wrong := routed(s.Addr)
	wrong.Router.RedisUsername, wrong.Router.RedisPassword = "nobody", "canary-secret"
	files := routed(s.Addr)
	files.Router.RedisTLS, files.Router.RedisCA = true, filepath.Join(t.TempDir(), "missing")
	for name, c := range map[string]struct {
		file                              *config.File
		check, strictCheck, start, strict bool // that it fails
	}{
		"none":                {none, false, false, false, false},
		"there":               {mine, false, false, false, false},
		"away":                {away, false, true, false, true},
		"refuses":             {wrong, true, true, false, true},
		"files are not there": {files, true, true, true, true},
	} {
		for strict, fails := range map[bool]bool{false: c.check, true: c.strictCheck} {
			var out bytes.Buffer
			err := checkRedis(&out, c.file, strict)
			var exit *boot.ExitError
			if (err != nil) != fails || err != nil && (!errors.As(err, &exit) || exit.Code != fleet.ExitConfig) {
				t.Errorf("%s: check, strict %v: %v", name, strict, err)
			}
			if err == nil && name == "away" && !strings.Contains(out.String(), "warning: connect to Redis at 127.0.0.1:1") {
				t.Errorf("%s: says %q", name, out.String())
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("%s: %v", name, err)
			}
		}
		for strict, fails := range map[bool]bool{false: c.start, true: c.strict} {
			if err := startRedis(c.file, strict); (err != nil) != fails {
				t.Errorf("%s: start, strict %v: %v", name, strict, err)
			}
		}
	}
}

// TestRedisTLS reads the files and does with the server's certificate what the
// settings say.
func TestRedisTLS(t *testing.T) {
	s, dir := redistest.TLS(t)
	no := false
	full := config.Redis{
		RedisTLS: true, RedisCA: filepath.Join(dir, "ca.crt"),
		RedisCert: filepath.Join(dir, "client.crt"), RedisKey: filepath.Join(dir, "client.key"),
	}
	for name, c := range map[string]struct {
		change func(r *config.Redis)
		fails  string
	}{
		"all of it":                   {func(*config.Redis) {}, ""},
		"unknown authority":           {func(r *config.Redis) { r.RedisCA = "" }, "certificate"},
		"nothing is verified":         {func(r *config.Redis) { r.RedisCA, r.RedisReqs = "", "none" }, ""},
		"any name":                    {func(r *config.Redis) { r.RedisHostname = &no }, ""},
		"any name, unknown authority": {func(r *config.Redis) { r.RedisHostname, r.RedisCA = &no, "" }, "certificate"},
		"no certificate":              {func(r *config.Redis) { r.RedisCert, r.RedisKey = "", "" }, "ssl_certfile"},
		"nothing but TLS there":       {func(r *config.Redis) { r.RedisTLS = false }, "redis_ssl is off"},
		"a key of another":            {func(r *config.Redis) { r.RedisKey = filepath.Join(dir, "server.key") }, "certificate for Redis"},
	} {
		f := routed(s.Addr)
		host, port := f.Router.RedisHost, f.Router.RedisPort
		f.Router.Redis = full
		f.Router.RedisHost, f.Router.RedisPort = host, port
		c.change(&f.Router.Redis)
		err := tryRedis(f)
		if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: %v", name, err)
		}
		// A certificate that does not hold fails a check: trying again does not help.
		if c.fails == "certificate" && (!redis.Mistrusted(err) || checkRedis(io.Discard, f, false) == nil) {
			t.Errorf("%s: no matter of trust: %v", name, err)
		}
	}
	f := routed(redistest.New(t).Addr)
	f.Router.RedisTLS = true
	if err := tryRedis(f); err == nil || !strings.Contains(err.Error(), "does Redis speak TLS on this port") || redis.Mistrusted(err) {
		t.Errorf("no TLS there: %v", err)
	}
}

func TestRedisConfig(t *testing.T) {
	for name, c := range map[string]struct {
		r    config.Redis
		want func(redis.Config) bool
	}{
		"none":    {config.Redis{RedisPort: 6379}, func(c redis.Config) bool { return !c.Given() }},
		"socket":  {config.Redis{RedisHost: "/run/r"}, func(c redis.Config) bool { return c.Where() == "/run/r" && !c.Cluster }},
		"cluster": {config.Redis{RedisNodes: []string{"a:1", "b:2"}, RedisHost: "h"}, func(c redis.Config) bool { return c.Cluster && c.Where() == "a:1, b:2" }},
		"sentinels": {
			config.Redis{RedisSentinels: []string{"s:1"}, RedisService: "m", SentinelUser: "u", SentinelSecret: "p", RedisPassword: "q"},
			func(c redis.Config) bool {
				return c.Master == "m" && c.SentinelUsername == "u" && c.SentinelPassword == "p" && c.Password == "q" && c.Where() == "s:1"
			},
		},
	} {
		f := &config.File{}
		f.Router.Redis = c.r
		got, err := redisConfig(f)
		if err != nil || !c.want(got) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
