// Package redis is the worker's one connection to Redis: a single server, a
// cluster, or a master that sentinels know. Everything in Redis may vanish, so
// a call is made or it is not, quickly: 50 ms by a context, because a server
// that was stopped and one that is behind a dead network never answer
// (rueidis#680, #683), no second try, and none at all while a breaker is open.
// The connection is made, looked after and made again by a goroutine of its
// own; no call ever dials.
package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/rueidis"
)

const (
	// Oldest is the oldest major version that is used. Servers that call
	// themselves something else report the version they are compatible with.
	Oldest = 7

	// Deadline is the longest time that a call takes.
	Deadline = 50 * time.Millisecond

	dialing  = time.Second // for a connection and its greeting
	again    = time.Second // between two looks at a server that is away
	mostCall = 512         // calls at once; the client's ring has room for twice as many, a full one would block
)

// ErrAway means that no call was made: the server is away, too slow, too old,
// or nobody has reached it yet.
var ErrAway = errors.New("redis is away")

// ErrUnsupported means that the server is too old.
var ErrUnsupported = errors.New("redis is too old")

// Config says where Redis is.
type Config struct {
	// Addresses are host:port, or the path of a unix socket: one server, nodes
	// of a cluster, or sentinels where Master names what they watch.
	Addresses []string
	Cluster   bool
	Master    string // name of the set that sentinels watch

	Username, Password                 string
	SentinelUsername, SentinelPassword string
	Database                           int         // number; a cluster has only 0
	TLS                                *tls.Config // nil: plain

	Name string        // of the connection, in CLIENT LIST
	Wait time.Duration // of a call; 0: Deadline
	Log  *slog.Logger
}

// Given reports whether there is a Redis at all.
func (c *Config) Given() bool { return len(c.Addresses) > 0 }

// Where names the server in messages; it holds no secrets.
func (c *Config) Where() string { return strings.Join(c.Addresses, ", ") }

// Dial connects once: small buffers, no client-side cache, no retries. The
// protocol is the one that old servers speak too, so that they can be named.
// wait bounds a connection and its greeting.
func (c *Config) Dial(wait time.Duration) (rueidis.Client, error) {
	name := strings.ReplaceAll(c.Name, " ", "-") // Redis takes none with blanks
	option := rueidis.ClientOption{
		InitAddress: c.Addresses, Username: c.Username, Password: c.Password,
		SelectDB: c.Database, TLSConfig: c.TLS, ClientName: name, ClientSetInfo: rueidis.DisableClientSetInfo,
		ForceSingleClient: !c.Cluster && c.Master == "",
		DisableCache:      true, AlwaysRESP2: true, DisableRetry: true,
		// One connection that is always read by its own goroutine: a call that
		// gives up waiting leaves, and does not take the connection with it.
		AlwaysPipelining: true, PipelineMultiplex: -1,
		ReadBufferEachConn: 16 << 10, WriteBufferEachConn: 16 << 10, RingScaleEachConn: 10,
	}
	option.Dialer.Timeout, option.Dialer.KeepAlive = wait, time.Second
	option.ConnWriteTimeout = wait
	option.ClusterOption.ShardsRefreshInterval = 2 * time.Second
	if c.Master != "" {
		option.Sentinel = rueidis.SentinelOption{
			MasterSet: c.Master, Username: c.SentinelUsername, Password: c.SentinelPassword,
			TLSConfig: c.TLS, ClientName: name, TopologyRefreshInterval: time.Second,
		}
		option.Sentinel.Dialer = option.Dialer
	}
	if strings.HasPrefix(c.Addresses[0], "/") {
		option.DialCtxFn = dialUnix
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		return nil, fmt.Errorf("connect to Redis at %s: %w%s", c.Where(), err, c.advice(err))
	}
	return client, nil
}

// Mistrusted reports whether an error is that of a certificate, of the server's
// or of ours: somebody is there, and trying again does not help.
func Mistrusted(err error) bool {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) ||
		err != nil && strings.Contains(err.Error(), "remote error: tls: ")
}

// advice is what may help where no connection came to be, as the end of a sentence.
func (c *Config) advice(err error) string {
	var alien tls.RecordHeaderError
	ended := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
	switch {
	case Mistrusted(err):
		return ": correct ssl_ca_certs, ssl_certfile and ssl_keyfile, or the certificate of Redis"
	case c.TLS != nil && (ended || errors.As(err, &alien) || errors.Is(err, context.DeadlineExceeded)):
		return ": redis_ssl is on: does Redis speak TLS on this port, and is it content with ssl_certfile?"
	case c.TLS == nil && ended:
		return ": redis_ssl is off: does Redis speak nothing but TLS on this port?"
	}
	return ""
}

func dialUnix(ctx context.Context, path string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	return d.DialContext(ctx, "unix", path)
}

// Refused reports whether an error is what the server answered: it is there.
// While it loads or changes its role it is as good as away.
func Refused(err error) bool {
	var said *rueidis.RedisError
	if !errors.As(err, &said) {
		return false
	}
	for _, passing := range []string{"LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK"} {
		if strings.HasPrefix(said.Error(), passing) {
			return false
		}
	}
	return true
}

// Version reads redis_version from INFO and is an ErrUnsupported where it is
// too old. A user who may not ask is not asked again: what calls need is tried
// by Usable.
func Version(ctx context.Context, client rueidis.Client) error {
	info, err := client.Do(ctx, client.B().Info().Section("server").Build()).ToString()
	if _, said := rueidis.IsRedisErr(err); said && strings.HasPrefix(err.Error(), "NOPERM") {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(info) {
		version, ok := strings.CutPrefix(strings.TrimSpace(line), "redis_version:")
		if !ok {
			continue
		}
		major, _, _ := strings.Cut(version, ".")
		if n, err := strconv.Atoi(major); err != nil || n < Oldest {
			return fmt.Errorf("%w: %s, %d.0 or newer is needed", ErrUnsupported, version, Oldest)
		}
		return nil
	}
	return errors.New("does not tell its version")
}

// probe does what every call does: a script that reads the clock and writes. A
// server that is loading, read-only or full, and a user who may not, fail it.
var probe = rueidis.NewLuaScript(`redis.call('TIME') redis.call('SET', KEYS[1], '1', 'PX', 10000) return 1`)

// Usable reports what keeps a server from being used, if anything. key chooses
// the node of a cluster.
func Usable(ctx context.Context, client rueidis.Client, key string) error {
	return probe.Exec(ctx, client, []string{"sluice:probe:{" + key + "}"}, nil).Error()
}

// Script is a program that Redis runs. It has one key and answers integers.
type Script struct{ lua *rueidis.Lua }

// NewScript prepares a script. It is sent by its digest, and whole where the
// server does not know it.
func NewScript(source string) *Script { return &Script{lua: rueidis.NewLuaScript(source)} }

// Client is safe for concurrent use.
type Client struct {
	config Config
	live   atomic.Pointer[connection]
	gate   breaker
	calls  atomic.Int64
	wake   chan struct{}
	stop   context.CancelFunc
	done   sync.WaitGroup
	last   atomic.Pointer[failure]
	tried  atomic.Bool

	made, missed, opened atomic.Uint64
}

type connection struct{ client rueidis.Client }

// failure is what the keeper looks into: why, and at which node.
type failure struct {
	err error
	key string
}

// New makes a client and the goroutine that connects it; it does not wait.
// Close ends both.
func New(c Config) *Client {
	if c.Wait == 0 {
		c.Wait = Deadline
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Client{config: c, wake: make(chan struct{}, 1), stop: stop}
	r.gate.slow = c.Wait / slowPart
	r.gate.state.Store(open)
	r.done.Go(func() { r.keep(ctx) })
	return r
}

// Close ends the connection; calls get ErrAway from then on.
func (r *Client) Close() {
	r.stop()
	r.done.Wait()
}

// Tried reports whether the server was looked for, and it could not be used.
func (r *Client) Tried() bool { return r.tried.Load() }

// Up reports whether calls are made at present.
func (r *Client) Up() bool { return r.gate.is() == closed }

// Wait is the longest time that a call takes.
func (r *Client) Wait() time.Duration { return r.config.Wait }

// Stats are counts since the start.
type Stats struct {
	Calls  uint64 // made
	Failed uint64 // of them
	Opened uint64 // how often the breaker did
	Up     bool
}

// Stats counts.
func (r *Client) Stats() Stats {
	return Stats{Calls: r.made.Load(), Failed: r.missed.Load(), Opened: r.opened.Load(), Up: r.Up()}
}

// Eval runs a script. key chooses the node of a cluster: a text in braces, and
// its hash tag. An error says that the answer is not known; whether the script
// ran is not known then either.
func (r *Client) Eval(s *Script, key string, args ...string) ([]int64, error) {
	c := r.live.Load()
	if c == nil || r.gate.is() != closed {
		return nil, ErrAway
	}
	if r.calls.Add(1) > mostCall {
		r.calls.Add(-1)
		return nil, ErrAway
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.config.Wait)
	start := time.Now()
	answer, err := s.lua.Exec(ctx, c.client, []string{key}, args).AsIntSlice()
	took := time.Since(start)
	cancel()
	r.calls.Add(-1)
	r.made.Add(1)
	if err != nil {
		r.missed.Add(1)
		r.fail(c, err, key)
		return nil, err
	}
	if r.gate.passed(start.Add(took).UnixNano(), took) {
		r.tell(fmt.Errorf("more than one call in a hundred takes longer than %v", r.gate.slow))
		r.rouse()
	}
	return answer, nil
}

// fail notes a call that failed, unless its connection is not the present one.
func (r *Client) fail(c *connection, err error, key string) {
	if r.live.Load() != c {
		return
	}
	first, opened := r.gate.failed()
	if first || opened {
		r.last.Store(&failure{err: err, key: key})
		r.rouse()
	}
	if opened {
		r.tell(err)
	}
}

func (r *Client) rouse() {
	select {
	case r.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (r *Client) tell(err error) {
	r.opened.Add(1)
	r.config.Log.Warn("redis is not used until it answers in time", slog.String("redis", r.config.Where()), slog.String("error", err.Error()))
}
