package config

import (
	"strings"
	"testing"
	"time"
)

// connection loads a file; where it is refused, there is an empty one.
func connection(t *testing.T, text string) (*File, string) {
	f, problems := loadText(t, text, environ())
	if f == nil {
		f = &File{}
	}
	var all strings.Builder
	for _, p := range problems {
		all.WriteString(p.String() + "\n")
	}
	return f, all.String()
}

func TestConnection(t *testing.T) {
	const ours = `general_settings:
  master_key: sk-1
  database_url: postgresql://u:p@h/d
  database_connection_pool_limit: 7
  database_connect_timeout: 3
  database_socket_timeout: 20
  database_statement_timeout: 30s
  database_lock_timeout: 2
  database_idle_in_transaction_session_timeout: 4
  database_max_idle_connection_lifetime: 5m
  database_disable_prepared_statements: true
  database_extra_connection_params: {application_name: mine, keepalives: 1, sslmode: require}
`
	const theirs = `general_settings: {master_key: sk-1}
dependencies:
  postgres:
    url: postgresql+asyncpg://u:p@h/d
    echo: false
    pool_size: 6
    max_overflow: 4
    pool_pre_ping: true
    pool_timeout: 9
    connect_args:
      command_timeout: 25
      server_settings: {application_name: opengatellm, statement_timeout: 60s, lock_timeout: 1500, jit: 'off'}
  redis: {host: x}
`
	f, problems := connection(t, ours)
	g := f.General
	if g.DatabasePoolLimit != 7 || g.DatabaseConnect != 3*time.Second || g.StatementTimeout() != 20*time.Second || g.DatabaseLock != 2*time.Second ||
		g.DatabaseTransaction != 4*time.Second || g.DatabaseIdle != 5*time.Minute || !g.DatabaseUnprepared || g.DatabaseTimeout != 0 {
		t.Errorf("%+v", g.Connection)
	}
	if p := g.DatabaseParameters; len(p) != 2 || p["application_name"] != "mine" || p["sslmode"] != "require" {
		t.Errorf("%v", p)
	}
	if !strings.Contains(problems, "keepalives") {
		t.Errorf("nothing about keepalives: %s", problems)
	}
	f, problems = connection(t, theirs)
	g = f.General
	if g.DatabaseURL != "postgresql://u:p@h/d" || g.DatabasePoolLimit != 10 || g.DatabaseTimeout != 9*time.Second || g.StatementTimeout() != 25*time.Second ||
		g.DatabaseStatement != time.Minute || g.DatabaseLock != 1500*time.Millisecond || g.DatabaseParameters["application_name"] != "opengatellm" {
		t.Errorf("%+v", g.Connection)
	}
	for _, named := range []string{"postgres.echo", "server_settings.jit", "dependencies.redis"} {
		if strings.Count(problems, named) != 1 {
			t.Errorf("%s is not named once: %s", named, problems)
		}
	}
	f, _ = connection(t, "general_settings: {master_key: sk-1, database_connection_pool_limit: 3, database_url: 'postgresql://first/d'}\n"+strings.SplitN(theirs, "\n", 2)[1])
	if f.General.DatabasePoolLimit != 3 || f.General.DatabaseURL != "postgresql://first/d" {
		t.Errorf("general_settings do not win: %+v", f.General.Connection)
	}
	for _, bad := range []string{
		"pool_size: many", "max_overflow: -1", "url: mysql://u:hunter2@h/d", "pool_timeout: soon", "connect_args: {server_settings: {statement_timeout: 1 year}}",
	} {
		_, problems := loadText(t, "general_settings: {master_key: sk-1}\ndependencies: {postgres: {"+bad+"}}\n", environ())
		if len(problems.Of(Error)) != 1 || strings.Contains(problems.String(), "hunter2") {
			t.Errorf("%s: %s", bad, problems)
		}
	}
}
