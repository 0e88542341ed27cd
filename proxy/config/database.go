package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/env"
)

// Connection is the part of general_settings that says how the database is
// reached. What is 0 is left to the URL, and then to the product.
type Connection struct {
	DatabaseURL         env.Secret    `cfg:"database_url"` // "" is SQLite
	DatabasePoolLimit   int           `cfg:"database_connection_pool_limit"`
	DatabaseTimeout     time.Duration `cfg:"database_connection_timeout,database_connection_pool_timeout"` // for a connection of the pool
	DatabaseConnect     time.Duration `cfg:"database_connect_timeout"`
	DatabaseSocket      time.Duration `cfg:"database_socket_timeout"`
	DatabaseStatement   time.Duration `cfg:"database_statement_timeout"`
	DatabaseLock        time.Duration `cfg:"database_lock_timeout"`
	DatabaseTransaction time.Duration `cfg:"database_idle_in_transaction_session_timeout"`
	DatabaseIdle        time.Duration `cfg:"database_max_idle_connection_lifetime"`
	DatabaseUnprepared  bool          `cfg:"database_disable_prepared_statements"`

	// DatabaseParameters are further parameters of a connection, by libpq's
	// names. Those of the URL win.
	DatabaseParameters map[string]string
}

// StatementTimeout is the longest time of one statement, 0 where nothing is
// said: the shorter one of what the file says of statements and of sockets.
func (c *Connection) StatementTimeout() time.Duration {
	if c.DatabaseStatement == 0 || c.DatabaseSocket > 0 && c.DatabaseSocket < c.DatabaseStatement {
		return c.DatabaseSocket
	}
	return c.DatabaseStatement
}

func databaseKeys() []Key {
	return []Key{
		{Name: "database_url", Kind: Secret, Default: "`DATABASE_URL`", Doc: "PostgreSQL; without it SQLite in the state directory"},
		{Name: "database_connection_pool_limit", Kind: Int, Default: "`connection_limit` of the URL, 10", Doc: "connections of a worker at most. PostgreSQL needs room for hosts x (workers x this + 3)"},
		{Name: "database_connection_timeout", Kind: Seconds, Default: "`pool_timeout` of the URL, 60", Doc: "longest wait for a connection of the pool"},
		{Name: "database_connection_pool_timeout", Kind: Seconds, Doc: "the same as `database_connection_timeout`"},
		{Name: "database_connect_timeout", Kind: Seconds, Default: "`connect_timeout` of the URL, 5", Doc: "longest time of an attempt to connect"},
		{Name: "database_socket_timeout", Kind: Seconds, Default: "`socket_timeout` of the URL", Doc: "longest time of a statement, where it is shorter than `database_statement_timeout`"},
		{Name: "database_statement_timeout", Kind: Seconds, Default: "15", Doc: "longest time of a statement, kept by the server"},
		{Name: "database_lock_timeout", Kind: Seconds, Default: "5", Doc: "longest wait for a lock, kept by the server"},
		{Name: "database_idle_in_transaction_session_timeout", Kind: Seconds, Default: "10", Doc: "the server ends a session that does nothing in a transaction for so long, so that a stopped process holds up no other"},
		{Name: "database_max_idle_connection_lifetime", Kind: Seconds, Default: "60", Doc: "a connection that nobody used for so long is closed"},
		{Name: "database_disable_prepared_statements", Kind: Bool, Default: "false", Doc: "no named statements; a pooler in transaction mode is noticed without it"},
		{Name: "database_extra_connection_params", Kind: Map, Doc: "further parameters of a connection by libpq's names, such as `application_name`, `options` or `sslrootcert`; those of the URL win"},
	}
}

// extraParameters are the ones that a file may add to a connection.
var extraParameters = []string{
	"application_name", "channel_binding", "options", "sslcert", "sslkey", "sslmode", "sslrootcert", "sslsni", "target_session_attrs",
}

func (f *File) databaseParameters(r *report, v *value) {
	const path = "general_settings.database_extra_connection_params"
	if v == nil || v.is != mapping {
		return
	}
	for _, e := range v.entries {
		switch {
		case e.value.is == null:
		case !slices.Contains(extraParameters, e.name):
			r.warnf(e.at, join(path, e.name), "is ignored: %s are possible here", strings.Join(extraParameters, ", "))
		case !e.value.scalar():
			r.errorf(e.at, join(path, e.name), "text", "is %s", e.value.is)
		default:
			f.setParameter(e.name, e.value.text)
		}
	}
}

func (f *File) setParameter(name, value string) {
	if f.General.DatabaseParameters == nil {
		f.General.DatabaseParameters = map[string]string{}
	}
	f.General.DatabaseParameters[name] = value
}

// dependencies takes OpenGateLLM's way to say how PostgreSQL is reached, where
// general_settings does not say it: the arguments of an SQLAlchemy engine.
// Other dependencies of its file are not ours.
func (f *File) dependencies(r *report, root *value) {
	v := root.get("dependencies")
	if v == nil || v.is != mapping {
		return
	}
	for _, e := range v.entries {
		switch {
		case e.value.is == null:
		case e.name != "postgres":
			r.add(Note, e.at, join("dependencies", e.name), "has no effect in this release", "")
		case e.value.is != mapping:
			r.errorf(e.at, "dependencies.postgres", "a map", "is %s", e.value.is)
		default:
			f.engine(r, e.value)
		}
	}
}

// engine reads dependencies.postgres.
func (f *File) engine(r *report, v *value) {
	const path = "dependencies.postgres"
	size, overflow := 5, 10 // SQLAlchemy's
	sized := false
	g := &f.General
	for _, e := range v.entries {
		key := join(path, e.name)
		switch e.name {
		case "url":
			if !databaseURL(e.value.text) {
				r.errorf(e.at, key, "postgresql://user:password@host:port/database", "is no URL of a database")
			} else if g.DatabaseURL == "" {
				g.DatabaseURL = env.Secret(e.value.text)
			}
		case "pool_size":
			size, sized = wholeNumber(r, e, key, size), true
		case "max_overflow":
			overflow, sized = wholeNumber(r, e, key, overflow), true
		case "pool_timeout":
			setTime(r, e, key, time.Second, &g.DatabaseTimeout)
		case "pool_pre_ping": // connections are always looked at before they are used
		case "connect_args":
			f.connectArguments(r, key, e)
		default:
			r.add(Note, e.at, key, "has no effect: it is an argument of another library", "")
		}
	}
	if sized && g.DatabasePoolLimit == 0 {
		g.DatabasePoolLimit = size + overflow
	}
}

// connectArguments reads asyncpg's arguments. Numbers of its server_settings are
// milliseconds, as PostgreSQL has them.
func (f *File) connectArguments(r *report, path string, arguments entry) {
	if arguments.value.is != mapping {
		return
	}
	g := &f.General
	for _, e := range arguments.value.entries {
		key := join(path, e.name)
		switch e.name {
		case "timeout":
			setTime(r, e, key, time.Second, &g.DatabaseConnect)
		case "command_timeout":
			setTime(r, e, key, time.Second, &g.DatabaseSocket)
		case "server_settings":
			f.serverSettings(r, key, e.value)
		case "statement_cache_size":
			g.DatabaseUnprepared = g.DatabaseUnprepared || wholeNumber(r, e, key, 1) == 0
		default:
			r.add(Note, e.at, key, "has no effect: it is an argument of another library", "")
		}
	}
}

func (f *File) serverSettings(r *report, path string, v *value) {
	if v == nil || v.is != mapping {
		return
	}
	times := map[string]*time.Duration{
		"statement_timeout": &f.General.DatabaseStatement, "lock_timeout": &f.General.DatabaseLock,
		"idle_in_transaction_session_timeout": &f.General.DatabaseTransaction,
	}
	for _, e := range v.entries {
		key := join(path, e.name)
		if to, ok := times[e.name]; ok {
			setTime(r, e, key, time.Millisecond, to)
		} else if e.name != "application_name" {
			r.add(Note, e.at, key, "has no effect; "+strings.Join(slices.Sorted(maps.Keys(times)), ", ")+" and application_name have", "")
		} else if f.General.DatabaseParameters["application_name"] == "" {
			f.setParameter(e.name, e.value.text)
		}
	}
}

func wholeNumber(r *report, e entry, key string, otherwise int) int {
	n, err := strconv.Atoi(e.value.text)
	if err != nil || n < 0 {
		r.errorf(e.at, key, "a whole number, 0 or more", "is %s", quote(e.value.text))
		return otherwise
	}
	return n
}

// setTime reads a number of units, or a text with its unit, into what is not
// set yet.
func setTime(r *report, e entry, key string, unit time.Duration, to *time.Duration) {
	if *to != 0 || e.value.is == null {
		return
	}
	text := strings.ReplaceAll(e.value.text, " ", "")
	if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 && n < 1e9 {
		*to = time.Duration(n * float64(unit))
		return
	}
	d, err := time.ParseDuration(strings.Replace(text, "min", "m", 1))
	if err != nil || d < 0 {
		r.errorf(e.at, key, "a number, or a time such as 60s", "is %s", quote(e.value.text))
		return
	}
	*to = d
}
