package config

import (
	"net/url"
	"strconv"
	"strings"

	"sluice/internal/env"
)

// redis completes what the file says about Redis. A URL is the whole truth of
// its level, as with LiteLLM: redis_url replaces the other keys of the file,
// REDIS_URL the other variables. The file wins over the environment.
func (f *File) redis(r *report, secret func(*env.Secret, string)) {
	s := setting{report: r, environ: f.Environ}
	v, file := &f.Router, f.root.get("router_settings")
	if v.RedisURL != "" {
		f.redisURL(r, file.get("redis_url").at, "router_settings.redis_url")
		return
	}
	if v.RedisPort > 65535 {
		r.errorf(file.get("redis_port").at, "router_settings.redis_port", "a port from 1 to 65535", "is %d", v.RedisPort)
	}
	if v.RedisHost == "" {
		if secret(&v.RedisURL, "REDIS_URL"); v.RedisURL != "" {
			f.redisURL(r, Pos{File: "REDIS_URL"}, "")
			return
		}
		v.RedisHost = f.Environ.Get("REDIS_HOST")
	}
	if v.RedisPort == 0 {
		v.RedisPort = s.whole(defaultRedisPort, 1, 65535, nil, "", "REDIS_PORT", "")
	}
	if file.get("redis_db") == nil {
		v.RedisDB = s.whole(0, 0, most, nil, "", "REDIS_DB", "")
	}
	if v.RedisUsername == "" {
		v.RedisUsername = f.Environ.Get("REDIS_USERNAME")
	}
	secret(&v.RedisPassword, "REDIS_PASSWORD")
	v.RedisTLS = v.RedisTLS || s.bool("REDIS_SSL")
}

const defaultRedisPort = 6379

// redisURL takes the URL apart. Its problem does not show it: it may hold a
// password.
func (f *File) redisURL(r *report, at Pos, key string) {
	const allowed = "redis://user:password@host:port/database, rediss:// or unix:///path"
	v := &f.Router
	u, err := url.Parse(strings.TrimSpace(v.RedisURL.Reveal()))
	if err != nil {
		r.errorf(at, key, allowed, "is no URL")
		return
	}
	path, database := strings.TrimPrefix(u.Path, "/"), u.Query().Get("db")
	v.RedisPort, v.RedisDB, v.RedisTLS = defaultRedisPort, 0, u.Scheme == "rediss"
	v.RedisUsername = u.User.Username()
	password, _ := u.User.Password()
	v.RedisPassword = env.Secret(password)
	switch u.Scheme {
	case "redis", "rediss":
		v.RedisHost = u.Hostname()
		if path != "" {
			database = path
		}
	case "unix":
		v.RedisHost = u.Path
	default:
		v.RedisHost = ""
	}
	if v.RedisHost == "" {
		r.errorf(at, key, allowed, "is no URL of Redis")
		return
	}
	if port := u.Port(); port != "" {
		if v.RedisPort, err = strconv.Atoi(port); err != nil || v.RedisPort < 1 || v.RedisPort > 65535 {
			r.errorf(at, key, "a port from 1 to 65535", "has the port %s", quote(port))
		}
	}
	if database != "" {
		if v.RedisDB, err = strconv.Atoi(database); err != nil || v.RedisDB < 0 {
			r.errorf(at, key, "a whole number as database", "has the database %s", quote(database))
		}
	}
}
