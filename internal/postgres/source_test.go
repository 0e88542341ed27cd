package postgres

import (
	"strings"
	"testing"
	"time"
)

func TestParseURL(t *testing.T) {
	tests := []struct {
		name, url string
		check     func(t *testing.T, s *Source)
	}{
		{"prisma", "postgresql://u:p%40ss@db:6432/llm?schema=lite&connection_limit=7&pool_timeout=60&connect_timeout=3&pgbouncer=true&socket_timeout=2.5&sslaccept=strict&sslmode=require&sslcert=ca.pem", func(t *testing.T, s *Source) {
			if s.Schema != "lite" || s.PoolLimit != 7 || s.PoolTimeout != time.Minute || !s.Bouncer {
				t.Errorf("got %+v", s)
			}
			if s.settings["password"] != "p@ss" || s.settings["sslmode"] != "verify-full" || s.settings["sslrootcert"] != "ca.pem" {
				t.Errorf("settings %v", s.settings)
			}
			if s.connectTimeout != 3*time.Second || s.socketTimeout != 2500*time.Millisecond || len(s.Notes) != 0 {
				t.Errorf("timeouts %v %v, notes %v", s.connectTimeout, s.socketTimeout, s.Notes)
			}
		}},
		{"asyncpg", "postgresql+asyncpg://u@h/d", func(t *testing.T, s *Source) {
			if s.String() != "u@h:5432/d" || s.Schema != "public" {
				t.Errorf("got %s, %s", s, s.Schema)
			}
		}},
		{"several hosts", "postgres://u:p@a:1,b,[::1]:3/d?target_session_attrs=read-write", func(t *testing.T, s *Source) {
			if s.settings["host"] != "a,b,::1" || s.settings["port"] != "1,5432,3" {
				t.Errorf("settings %v", s.settings)
			}
			if c, err := s.Config(Options{}); err != nil || len(c.Fallbacks) == 0 {
				t.Errorf("config: %v", err)
			}
		}},
		{"unix socket", "postgres://u@/d?host=/run/postgresql", func(t *testing.T, s *Source) {
			if s.settings["host"] != "/run/postgresql" {
				t.Errorf("settings %v", s.settings)
			}
		}},
		{"at sign in the password", "postgres://u:p@ss@h/d", func(t *testing.T, s *Source) {
			if s.settings["password"] != "p@ss" || s.Host() != "h" {
				t.Errorf("settings %v", s.settings)
			}
		}},
		{"quote and backslash in the password", `postgres://u:a'b%5Cc@h/d`, func(t *testing.T, s *Source) {
			c, err := s.Config(Options{})
			if err != nil || c.Password != `a'b\c` {
				t.Errorf("password %q, %v", c.Password, err)
			}
		}},
		{"notes", "postgres://h/d?sslidentity=x.p12&what=1", func(t *testing.T, s *Source) {
			if len(s.Notes) != 2 {
				t.Errorf("notes %q", s.Notes)
			}
		}},
		{"no named statements", "postgres://h/d?statement_cache_size=0", func(t *testing.T, s *Source) {
			if c, err := s.Config(Options{}); err != nil || c.StatementCacheCapacity != 0 {
				t.Errorf("config %+v, %v", c, err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ParseURL(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			tt.check(t, s)
		})
	}
}

func TestParseURLRefuses(t *testing.T) {
	tests := []struct{ name, url, want string }{
		{"other scheme", "mysql://u:hunter2@h/d", "postgresql://"},
		{"slash in the password", "postgres://u:hunt/er2@h/d", "%2F"},
		{"question mark in the password", "postgres://u:hunt?er2@h/d", "%3F"},
		{"percent in the password", "postgres://u:hunter2%zz@h/d", "%25"},
		{"hash in the password", "postgres://u:x@hunter2#h:p/d", "port"},
		{"no database", "postgres://u:hunter2@h", "no database"},
		{"port", "postgres://u:hunter2@h:99999/d", "port"},
		{"number", "postgres://u:hunter2@h/d?connection_limit=many", "connection_limit"},
		{"sslmode", "postgres://u:hunter2@h/d?sslmode=sure", "sslmode"},
		{"sslaccept", "postgres://u:hunter2@h/d?sslaccept=sure", "sslaccept"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseURL(tt.url)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%q does not say %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunt") {
				t.Errorf("%q shows the password", err)
			}
		})
	}
}

func TestFromEnviron(t *testing.T) {
	vars := map[string]string{
		"DATABASE_HOST": "db", "DATABASE_PORT": "6000", "DATABASE_USERNAME": "u", "DATABASE_PASSWORD": "a/b?c",
		"DATABASE_NAME": "n", "DATABASE_SCHEMA": "s",
	}
	get := func(name string) string { return vars[name] }
	s, ok, err := FromEnviron(get, false)
	if err != nil || !ok || s.String() != "u@db:6000/n" || s.Schema != "s" || s.settings["password"] != "a/b?c" {
		t.Fatalf("parts: %v %v %v", s, ok, err)
	}
	vars["DATABASE_URL"], vars["DIRECT_URL"] = "postgres://pool/d", "postgres://direct/d"
	if s, _, _ := FromEnviron(get, true); s.Host() != "direct" {
		t.Errorf("for migrations: %s", s)
	}
	if s, _, _ := FromEnviron(get, false); s.Host() != "pool" {
		t.Errorf("for work: %s", s)
	}
	clear(vars)
	if _, ok, err := FromEnviron(get, true); ok || err != nil {
		t.Errorf("nothing set: %v %v", ok, err)
	}
	vars["DATABASE_HOST"] = "db"
	if _, _, err := FromEnviron(get, true); err == nil {
		t.Error("no user: accepted")
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("postgresql://u:p@h:1,b/d?schema=x&sslmode=require")
	f.Fuzz(func(_ *testing.T, raw string) {
		if s, err := ParseURL(raw); err == nil {
			_, _ = s.Config(Options{Application: "x"})
		}
	})
}
