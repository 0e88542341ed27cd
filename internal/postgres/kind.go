package postgres

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Kind is what an error of the database means to whoever has to act on it.
type Kind int

// Kinds of errors. Other is one that the statement itself caused.
const (
	None       Kind = iota
	Away            // nobody answers, or the connection broke
	Starting        // it starts, stops or recovers
	TooMany         // no connection left
	PoolEmpty       // all connections of our own pool are in use
	Busy            // a lock or a statement took too long, or a deadlock was broken
	DiskFull        // the server cannot write
	ReadOnly        // a standby, or set read-only
	Password        // wrong password, unknown role, or not let in by pg_hba.conf
	NoDatabase      // the database does not exist
	Permission      // the role may not do this
	TLS             // no agreement on TLS, or a certificate that does not hold
	Settings        // the connection settings themselves are wrong
	Other
)

var kinds = [...]struct {
	name, advice string
	again        bool
}{
	None:       {"none", "", false},
	Away:       {"away", "check that PostgreSQL runs and that host, port and network lead to it", true},
	Starting:   {"starting", "PostgreSQL is starting, stopping or recovering: try again", true},
	TooMany:    {"too many connections", "raise max_connections, lower database_connection_pool_limit, or put a pooler in between", true},
	PoolEmpty:  {"pool exhausted", "raise database_connection_pool_limit, or find out what keeps the database busy", true},
	Busy:       {"busy", "another session holds a lock: try again, or end that session", true},
	DiskFull:   {"disk full", "make room on the database server", true},
	ReadOnly:   {"read-only", "this is a standby or set read-only: name the primary, or several hosts with target_session_attrs=read-write", true},
	Password:   {"login refused", "correct user and password in DATABASE_URL, or the server's pg_hba.conf", false},
	NoDatabase: {"no such database", "create it (CREATE DATABASE) or correct the name in DATABASE_URL", false},
	Permission: {"not permitted", "grant the role CREATE on the database, or let its owner migrate (DIRECT_URL)", false},
	TLS:        {"TLS", "correct sslmode, sslrootcert, sslcert and sslkey, or the server's certificate", false},
	Settings:   {"settings", "correct DATABASE_URL", false},
	Other:      {"error", "", false},
}

// String names the kind in a word or three.
func (k Kind) String() string { return kinds[k].name }

// Advice is what an operator can do about it; empty for None and Other.
func (k Kind) Advice() string { return kinds[k].advice }

// Temporary is true when trying again later may help without a change of the
// configuration.
func (k Kind) Temporary() bool { return kinds[k].again }

// codes maps SQLSTATEs (PostgreSQL documentation, appendix A) to kinds.
var codes = map[string]Kind{
	"28P01": Password, "28000": Password, "3D000": NoDatabase, "42501": Permission,
	"25006": ReadOnly, "53300": TooMany, "53100": DiskFull, "53200": Busy,
	"55P03": Busy, "57014": Busy, "40P01": Busy, "40001": Busy, "55006": Busy,
	"57P01": Away, "57P02": Away, "57P03": Starting, "57P05": Away,
	"25P03": Away, "25P04": Away, // idle in a transaction, or in it for too long
}

// errStandby is what a transaction that is to write gets from a server which
// only follows another one. PostgreSQL has no code of its own for it there.
var errStandby = errors.New("the server is a standby")

// Standby gives the error of the beginning of a transaction that is to write
// its meaning.
func Standby(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "0A000" { // "cannot set transaction read-write mode during recovery"
		return fmt.Errorf("%w: %w", errStandby, err)
	}
	return err
}

// Classify says what an error of this package or of the driver means.
func Classify(err error) Kind {
	if err == nil {
		return None
	}
	if errors.Is(err, errStandby) {
		return ReadOnly
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		if pg.Code == "28000" && (strings.Contains(pg.Message, "client certificate") || strings.Contains(pg.Message, "no encryption")) {
			return TLS // the server asks for it, not for another password
		}
		if k, ok := codes[pg.Code]; ok {
			return k
		}
		if strings.HasPrefix(pg.Code, "08") {
			return Away
		}
		return Other
	}
	var settings *configError
	if errors.As(err, &settings) {
		return Settings
	}
	if errors.Is(err, errNoneFree) {
		return PoolEmpty
	}
	if isTLS(err) {
		return TLS
	}
	var network net.Error
	if isConnect(err) || errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "conn closed") {
		if strings.Contains(err.Error(), "read only connection") || strings.Contains(err.Error(), "server is in hot standby") {
			return ReadOnly
		}
		return Away
	}
	return Other
}

// isConnect is true for errors of an attempt to connect.
func isConnect(err error) bool {
	var connect *pgconn.ConnectError
	return errors.As(err, &connect)
}

func isTLS(err error) bool {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	if errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "server refused TLS connection") || strings.Contains(text, "tls error")
}

// Broken is true when the connection must not be used again: it broke, or the
// server behind it has become another one (a demoted primary answers 25006).
func (k Kind) Broken() bool { return k == Away || k == Starting || k == ReadOnly }
