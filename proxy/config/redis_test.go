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
