package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"
)

// Options are what a program wants of its connections. A zero time means that
// the server's own setting stays.
type Options struct {
	Application      string        // application_name, shown in pg_stat_activity
	ConnectTimeout   time.Duration // 0: the URL's connect_timeout, or 5 s
	StatementTimeout time.Duration // 0: the URL's socket_timeout, or the server's
	LockTimeout      time.Duration
	// IdleInTransaction ends sessions that hold locks and do nothing: a process
	// that was stopped between two statements must not stop all others.
	IdleInTransaction time.Duration
	// NoStatements keeps no named prepared statements.
	NoStatements bool
	// Parameters are further settings of libpq, by keyword. Those of the URL win.
	Parameters map[string]string
}

// Config is the driver's configuration for a source. The caller owns it.
func (s *Source) Config(o Options) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(s.with(o.Parameters).keywords())
	if err != nil {
		return nil, &configError{err: err}
	}
	s.login.use(c)
	c.ConnectTimeout = s.connectTimeout
	if o.ConnectTimeout > 0 {
		c.ConnectTimeout = o.ConnectTimeout
	}
	dialer := &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 3 * time.Second, Count: 3},
		Control:         giveUpOnSilence,
	}
	c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return dial(ctx, dialer, network, addr)
	}
	if o.Application != "" && s.settings["application_name"] == "" {
		c.RuntimeParams["application_name"] = o.Application
	}
	statement := o.StatementTimeout
	if statement == 0 {
		statement = s.socketTimeout
	}
	if !s.Bouncer {
		setMillis(c.RuntimeParams, "statement_timeout", statement)
		setMillis(c.RuntimeParams, "lock_timeout", o.LockTimeout)
		setMillis(c.RuntimeParams, "idle_in_transaction_session_timeout", o.IdleInTransaction)
	}
	if s.statementCache >= 0 {
		c.StatementCacheCapacity = s.statementCache
	}
	if s.Bouncer || s.statementCache == 0 || o.NoStatements {
		withoutStatements(c)
	}
	c.OnPgError = func(_ *pgconn.PgConn, e *pgconn.PgError) bool {
		return !strings.EqualFold(e.SeverityUnlocalized, "FATAL") && !strings.EqualFold(e.Severity, "FATAL") && !Classify(e).Broken()
	}
	return c, nil
}

// askAgain is how long one attempt to reach a server may take before another
// one is begun in its place.
const askAgain = time.Second

// dial connects. A server that stood still drops who comes once the kernel's
// queue of its connections is full, and the kernel asks again less and less
// often: we ask anew each second, so as to be back soon after it is.
func dial(ctx context.Context, d *net.Dialer, network, addr string) (net.Conn, error) {
	for {
		once, cancel := context.WithTimeout(ctx, askAgain)
		conn, err := d.DialContext(once, network, addr)
		cancel()
		var late net.Error
		if err == nil || ctx.Err() != nil || !errors.As(err, &late) || !late.Timeout() {
			return conn, err
		}
	}
}

func setMillis(params map[string]string, name string, d time.Duration) {
	if d > 0 {
		params[name] = strconv.FormatInt(d.Milliseconds(), 10)
	}
}

// withoutStatements keeps no named prepared statements: behind a pooler in
// transaction mode the next query may meet another server process.
func withoutStatements(c *pgx.ConnConfig) {
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	c.StatementCacheCapacity, c.DescriptionCacheCapacity = 0, 0
}

// giveUpOnSilence lets the kernel end a connection whose peer has not
// acknowledged anything for 5 s: a half-open connection is noticed while a
// query waits.
func giveUpOnSilence(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 5000)
	}); e != nil {
		return e
	}
	return err
}

// withoutSettings leaves everything to the session that a pooler offers.
func withoutSettings(c *pgx.ConnConfig) {
	for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		delete(c.RuntimeParams, name)
	}
	withoutStatements(c)
}

// Open makes one connection. The caller closes it. Where a pooler refuses our
// session settings, it connects without them and without named statements;
// the connection's Config says so.
func Open(ctx context.Context, s *Source, o Options) (*pgx.Conn, error) {
	c, err := s.Config(o)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil && refusesSettings(err) {
		withoutSettings(c)
		conn, err = pgx.ConnectConfig(ctx, c)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s, err)
	}
	return conn, nil
}

// refusesSettings recognises PgBouncer's answer to a startup parameter that it
// does not track (08P01).
func refusesSettings(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "08P01" && strings.Contains(pg.Message, "startup parameter")
}

// configError hides the driver's text, which repeats the connection string.
type configError struct{ err error }

func (e *configError) Error() string {
	if inner := errors.Unwrap(e.err); inner != nil {
		return "database settings: " + inner.Error()
	}
	return "database settings cannot be used together"
}
