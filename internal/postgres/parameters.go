package postgres

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// passed are libpq's parameters that go to the driver as they are.
var passed = []string{
	"sslrootcert", "sslkey", "sslpassword", "sslsni", "target_session_attrs", "application_name", "options",
	"channel_binding", "krbsrvname", "host", "port", "user", "password", "dbname",
}

// setParameters sorts the parameters of a URL into those we act on, those of
// libpq, and those that are dropped with a note. Prisma's are those of
// https://www.prisma.io/docs/orm/overview/databases/postgresql, read
// 2026-11-21.
func (s *Source) setParameters(values url.Values) error {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := values.Get(name)
		var err error
		switch name {
		case "schema", "currentSchema":
			if value != "" {
				s.Schema = value
			}
		case "connection_limit":
			s.PoolLimit, err = number(name, value)
		case "pool_timeout":
			s.PoolTimeout, err = seconds(name, value)
		case "connect_timeout":
			s.connectTimeout, err = seconds(name, value)
		case "socket_timeout":
			s.socketTimeout, err = seconds(name, value)
		case "statement_cache_size":
			s.statementCache, err = number(name, value)
		case "pgbouncer":
			s.Bouncer = value == "true" || value == "1"
		case "sslmode", "sslaccept", "sslcert", "ssl":
			// read together below
		case "sslidentity":
			s.note("sslidentity is ignored: a PKCS#12 file is not read; give sslcert and sslkey as PEM files")
		default:
			if slices.Contains(passed, name) {
				s.settings[name] = value
			} else {
				s.note("parameter " + strconv.Quote(name) + " of the database URL is not known and ignored")
			}
		}
		if err != nil {
			return err
		}
	}
	return s.setTLS(values)
}

// setTLS translates Prisma's way of asking for TLS into libpq's. Prisma's
// sslcert is the certificate of the server's authority; libpq's is the
// client's, which never comes without sslkey.
func (s *Source) setTLS(values url.Values) error {
	mode := values.Get("sslmode")
	if mode == "" && values.Has("ssl") {
		mode = "disable"
		if v := values.Get("ssl"); v == "true" || v == "require" {
			mode = "require"
		}
	}
	if cert := values.Get("sslcert"); cert != "" {
		if values.Get("sslkey") != "" {
			s.settings["sslcert"] = cert
		} else if values.Get("sslrootcert") == "" {
			s.settings["sslrootcert"] = cert
		}
	}
	switch accept := values.Get("sslaccept"); accept {
	case "":
	case "strict":
		mode = "verify-full"
	case "accept_invalid_certs":
		if mode == "" {
			mode = "prefer"
		}
		delete(s.settings, "sslrootcert") // libpq checks the chain wherever a root is named
	default:
		return fmt.Errorf("database URL: sslaccept is %q: strict or accept_invalid_certs are possible", accept)
	}
	switch mode {
	case "":
	case "disable", "allow", "prefer", "require", "verify-ca", "verify-full":
		s.settings["sslmode"] = mode
	default:
		return fmt.Errorf("database URL: sslmode is %q: disable, allow, prefer, require, verify-ca or verify-full are possible", mode)
	}
	return nil
}

func (s *Source) note(line string) { s.Notes = append(s.Notes, line) }

func number(name, value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("database URL: %s is %q: a whole number, 0 or more, is needed", name, value)
	}
	return n, nil
}

// seconds reads a whole or decimal number of seconds.
func seconds(name, value string) (time.Duration, error) {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || f < 0 || f > 1e6 {
		return 0, fmt.Errorf("database URL: %s is %q: a number of seconds is needed", name, value)
	}
	return time.Duration(f * float64(time.Second)), nil
}

// with is the source with further settings of libpq; its own win.
func (s *Source) with(parameters map[string]string) *Source {
	if len(parameters) == 0 {
		return s
	}
	c := *s
	c.settings = maps.Clone(parameters)
	maps.Copy(c.settings, s.settings)
	return &c
}

// keywords writes the settings in libpq's keyword form, which has none of the
// escaping rules of URLs.
func (s *Source) keywords() string {
	names := make([]string, 0, len(s.settings))
	for name := range s.settings {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		value := strings.ReplaceAll(s.settings[name], `\`, `\\`)
		value = strings.ReplaceAll(value, `'`, `\'`)
		b.WriteString(name + "='" + value + "' ")
	}
	return b.String()
}
