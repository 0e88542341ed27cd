// Package postgres knows how to reach PostgreSQL: it reads connection URLs as
// Prisma, asyncpg and libpq write them, opens connections with the timeouts
// that this product always wants, and says in one word what an error means.
package postgres

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Source says where a database is. Its String form never holds the password.
type Source struct {
	// Schema is where another product keeps its tables in this database
	// (Prisma's parameter "schema"); "public" when not given. Ours are always
	// in the schema sluice.
	Schema string
	// PoolLimit is connection_limit: connections of one pool, 0 when not given.
	PoolLimit int
	// PoolTimeout is pool_timeout: how long to wait for a free connection, 0
	// when not given.
	PoolTimeout time.Duration
	// Bouncer is true when PgBouncer in transaction mode stands in between: no
	// named statements, no session settings.
	Bouncer bool
	// Notes holds one line for each parameter that was dropped or is
	// understood differently. They hold no secrets.
	Notes []string

	settings       map[string]string // of libpq, by keyword
	statementCache int               // -1 when not given
	connectTimeout time.Duration
	socketTimeout  time.Duration
	login          *login
}

// String names user, hosts and database, as an operator would.
func (s *Source) String() string {
	return s.settings["user"] + "@" + s.settings["host"] + ":" + s.settings["port"] + "/" + s.settings["dbname"]
}

// Host is the list of host names, separated by commas.
func (s *Source) Host() string { return s.settings["host"] }

// Database is the name of the database.
func (s *Source) Database() string { return s.settings["dbname"] }

// User is the role that logs in.
func (s *Source) User() string { return s.settings["user"] }

// SocketTimeout is socket_timeout: the longest time of one statement, 0 when not
// given.
func (s *Source) SocketTimeout() time.Duration { return s.socketTimeout }

// schemes that mean PostgreSQL; the +driver forms are SQLAlchemy's.
var schemes = []string{
	"postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg", "postgresql+psycopg", "postgresql+psycopg2",
}

// ParseURL reads postgresql://user:password@host:port/database?parameters.
// Errors name what is wrong and never repeat the URL, which holds a password.
func ParseURL(raw string) (*Source, error) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(raw), "://")
	if !ok || !slices.Contains(schemes, strings.ToLower(scheme)) {
		return nil, fmt.Errorf("database URL: it must begin with postgresql:// or postgres://")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	if !strings.Contains(authority, "@") && strings.Contains(database+query, "@") {
		return nil, fmt.Errorf("database URL: an unescaped / or ? in the user name or password: write %%2F for / and %%3F for ?")
	}
	s := &Source{Schema: "public", settings: map[string]string{}, statementCache: -1, login: &login{}}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if err := s.setUser(authority[:at]); err != nil {
			return nil, err
		}
		authority = authority[at+1:]
	}
	if err := s.setHosts(authority); err != nil {
		return nil, err
	}
	name, err := url.PathUnescape(database)
	if err != nil {
		return nil, fmt.Errorf("database URL: an unescaped %% in the database name: write %%25")
	}
	if name != "" {
		s.settings["dbname"] = name
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("database URL: parameters after ? cannot be read: write %%25 for %% and %%3B for ;")
	}
	if err := s.setParameters(values); err != nil {
		return nil, err
	}
	return s, s.complete()
}

func (s *Source) setUser(userinfo string) error {
	user, password, given := strings.Cut(userinfo, ":")
	u, err := url.PathUnescape(user)
	if err != nil {
		return fmt.Errorf("database URL: an unescaped %% in the user name: write %%25")
	}
	p, err := url.PathUnescape(password)
	if err != nil {
		return fmt.Errorf("database URL: an unescaped %% in the password: write %%25")
	}
	s.settings["user"] = u
	if given {
		s.settings["password"] = p
	}
	return nil
}

// setHosts reads host[:port][,host[:port]…].
func (s *Source) setHosts(list string) error {
	if list == "" {
		return nil
	}
	var hosts, ports []string
	for one := range strings.SplitSeq(list, ",") {
		host, port := one, "5432"
		if i := strings.LastIndexByte(one, ':'); i >= 0 && !strings.HasSuffix(one, "]") {
			host, port = one[:i], one[i+1:]
		}
		if port == "" {
			port = "5432"
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("database URL: the port must be a number between 1 and 65535; a # or / in the password must be written %%23 or %%2F")
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if h, err := url.PathUnescape(host); err == nil {
			host = h
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	s.settings["host"], s.settings["port"] = strings.Join(hosts, ","), strings.Join(ports, ",")
	return nil
}

// complete fills in what every source needs.
func (s *Source) complete() error {
	if s.settings["host"] == "" {
		s.settings["host"] = "localhost"
	}
	if s.settings["port"] == "" {
		s.settings["port"] = "5432"
	}
	if s.settings["dbname"] == "" {
		return fmt.Errorf("database URL: no database is named after the host: …@%s/NAME", s.settings["host"])
	}
	if strings.Contains(s.settings["host"], ",") && s.settings["target_session_attrs"] == "" {
		s.settings["target_session_attrs"] = "read-write" // whichever is the primary
	}
	if s.connectTimeout == 0 {
		s.connectTimeout = 5 * time.Second
	}
	return nil
}

// FromParts makes a Source of DATABASE_HOST and its companions, which
// LiteLLM's image and its Helm chart set. The second result is false when
// DATABASE_HOST is not set.
func FromParts(get func(name string) string) (*Source, bool, error) {
	host := get("DATABASE_HOST")
	if host == "" {
		return nil, false, nil
	}
	s := &Source{Schema: "public", settings: map[string]string{}, statementCache: -1, login: &login{}}
	if port := get("DATABASE_PORT"); port != "" && !strings.Contains(host, ":") && !strings.Contains(host, ",") {
		host = net.JoinHostPort(host, port)
	}
	if strings.HasPrefix(host, "/") {
		s.settings["host"], s.settings["port"] = get("DATABASE_HOST"), get("DATABASE_PORT")
	} else if err := s.setHosts(host); err != nil {
		return nil, true, fmt.Errorf("DATABASE_HOST, DATABASE_PORT: the port must be a number between 1 and 65535")
	}
	s.settings["user"] = get("DATABASE_USERNAME")
	if s.settings["user"] == "" {
		s.settings["user"] = get("DATABASE_USER")
	}
	if s.settings["user"] == "" {
		return nil, true, fmt.Errorf("DATABASE_HOST is set, DATABASE_USERNAME is not")
	}
	if p := get("DATABASE_PASSWORD"); p != "" {
		s.settings["password"] = p
	}
	s.settings["dbname"] = get("DATABASE_NAME")
	if s.settings["dbname"] == "" {
		return nil, true, fmt.Errorf("DATABASE_HOST is set, DATABASE_NAME is not")
	}
	if schema := get("DATABASE_SCHEMA"); schema != "" {
		s.Schema = schema
	}
	return s, true, s.complete()
}

// FromEnviron finds the database in DATABASE_URL or in its parts. With direct,
// DIRECT_URL is preferred: migrations need a session of their own, which a
// pooler in transaction mode does not give. The second result is false when
// none is set: the machine's own SQLite file is meant.
func FromEnviron(get func(name string) string, direct bool) (*Source, bool, error) {
	names := []string{"DATABASE_URL"}
	if direct {
		names = []string{"DIRECT_URL", "DATABASE_URL"}
	}
	for _, name := range names {
		if raw := get(name); raw != "" {
			s, err := ParseURL(raw)
			if err != nil {
				return nil, true, fmt.Errorf("%s: %w", name, err)
			}
			return s, true, nil
		}
	}
	return FromParts(get)
}
