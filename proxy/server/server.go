// Package server is the edge of a worker: it accepts connections, reads
// HTTP/1.1 strictly, says who calls before a body byte is read, hands model
// calls to the gateway and writes what comes back, until the last connection of
// a lame worker is gone. fasthttp ends here: nothing of it leaves the package.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"sluice/internal/certificate"
	"sluice/proxy/access"
	"sluice/proxy/gateway"
	"sluice/proxy/llm"
	"sluice/proxy/route"
	"sluice/supervisor/fleet"
)

// Limits of reliability rows F2, F3 and F12. Sizes are bytes.
const (
	readBuffer   = 32 << 10 // a request line with all its headers
	writeBuffer  = 4 << 10  // more goes out past it
	maxTarget    = 8 << 10
	maxFields    = 100
	keepUnread   = 64 << 10 // a refused body up to this is read so that the connection lives
	bodyBase     = 30 * time.Second
	bodyRate     = 8 << 10 // bytes a second that a body must come with
	readerStall  = 60 * time.Second
	readerRate   = 1 << 10 // bytes a second that a reader must take
	parkAfter    = 500 * time.Millisecond
	lingerTime   = 2 * time.Second
	refusedDrain = time.Second
)

// Gateway is what the server asks of one generation of the configuration.
type Gateway interface {
	Identify(x *gateway.Exchange, key []byte) *llm.Error
	Note(x *gateway.Exchange)
	Do(x *gateway.Exchange) (*gateway.Answer, *llm.Error)
	ModelsOf(x *gateway.Exchange) []route.ModelInfo
	Generation() uint64
}

// Rules are what a reload changes: each request keeps those that it began with.
type Rules struct {
	MaxBody     int64  // bytes of a JSON body; 0: 32 MiB
	KeyHeader   string // litellm_key_header_name; "" for none
	MetricsAuth bool   // GET /metrics needs a key
	// IgnoreForwarded takes no client's address from X-Forwarded-For, not even
	// of a trusted proxy (use_x_forwarded_for: false).
	IgnoreForwarded bool
	// Manager answers management calls, with the same configuration; nil: they
	// get 503.
	Manager Manager
	// Disabled are the families of routes that answer 404 (disabled_routers).
	Disabled []string
}

func (r Rules) withDefaults() *Rules {
	if r.MaxBody <= 0 {
		r.MaxBody = 32 << 20
	}
	r.KeyHeader = strings.ToLower(r.KeyHeader)
	return &r
}

// Config is what a Server is made from. The zero value of a field means the
// default that its comment names.
type Config struct {
	Rules
	Version       string        // x-litellm-version
	RootPath      string        // SERVER_ROOT_PATH; "" for none
	BodyAllowance int64         // bytes of all bodies held at once; 256 MiB
	KeepAlive     time.Duration // idle life of a connection; 120 s
	HeaderTimeout time.Duration // from the first byte to the end of the headers; 10 s
	CORSOrigins   []string      // LITELLM_CORS_ORIGINS; nil is *
	// CORSCredentials lets browsers send credentials from the named origins
	// (LITELLM_CORS_ALLOW_CREDENTIALS); never from *.
	CORSCredentials bool
	DocsPath        string // of the page that documents the API; "": there is none
	SpecPath        string // of the OpenAPI document; "": there is none
	RootURL         string // ROOT_REDIRECT_URL: where / leads; "": it names the gateway
	HealthSocket    string // healthd's unix socket; "" serves this worker's own metrics
	CertFile        string // of TLS listeners
	KeyFile         string
	ClientCAFile    string // authorities of clients' certificates; "": clients need none

	Metrics  func(io.Writer)    // writes this worker's own metrics; nil for none
	Counted  func(total uint64) // after each counted request, on the request path: must not block
	Panicked func(total uint64) // after each contained panic
	Log      *slog.Logger       // nil discards

	Table *fleet.Table // the host table
	Area  int          // this generation's area in it
	Slot  int          // this worker's slot

	// Concurrency bounds the model calls in flight on the whole host
	// (--limit_concurrency); 0 is no bound.
	Concurrency int64
}

// Server serves one worker's connections. Its methods may be called from any
// goroutine.
type Server struct {
	c       Config
	log     *slog.Logger
	http    *fasthttp.Server
	routes  *router
	gateway atomic.Pointer[held]
	same    []llm.Field       // of every answer
	certs   *certificate.Kept // nil: no TLS
	tls     *tls.Config
	own     *fleet.Generation
	clock   clock
	calls   sync.Pool // *call
	bodies  atomic.Int64
	lame    atomic.Bool

	quiet     atomic.Int64 // how long an idle connection lives; 0: Config.KeepAlive
	quietFrom atomic.Int64 // when quiet was set

	conns    registry
	accept   acceptors
	bad      badness
	refusals refusals
	holds    *fleet.Holders // nil without a bound on concurrency
	stall    time.Duration  // readerStall

	stop     chan struct{} // closed by Close: ends the sweeper
	sweeping sync.WaitGroup
	serving  sync.WaitGroup // one for each connection
}

// held keeps one generation of the configuration behind an atomic pointer.
type held struct {
	Gateway
	rules *Rules
}

// New makes a server that accepts nothing yet and starts its sweeper, which
// ends with Close. It fails when a certificate cannot be read.
func New(c Config, g Gateway) (*Server, error) {
	c = c.withDefaults()
	if c.Table == nil {
		return nil, errors.New("server: no host table")
	}
	s := &Server{c: c, log: c.Log, own: c.Table.Generation(c.Area), stop: make(chan struct{}), stall: readerStall}
	s.same = []llm.Field{
		{Name: keyVersion, Value: []byte(c.Version)},
		{Name: keyVary, Value: valueVary},
		{Name: keyFrame, Value: valueFrame},
		{Name: keySniff, Value: valueSniff},
	}
	s.clock.start()
	var err error
	if s.routes, err = newRouter(c.RootPath, access.Routes(), c.at); err != nil {
		return nil, err
	}
	s.calls.New = func() any { return &call{s: s} }
	s.accept.init(s)
	if c.Concurrency > 0 {
		s.holds = fleet.NewHolders(c.Table, c.Area)
	}
	s.Swap(g, c.Rules)
	if err := s.readCertificate(); err != nil {
		return nil, err
	}
	s.bad = readBadness()
	s.http = &fasthttp.Server{
		Handler:            s.handle,
		ErrorHandler:       s.broken,
		HeaderReceived:     headerReceived,
		ExpectHandler:      s.expect,
		ConnState:          connState,
		ReadBufferSize:     readBuffer,
		WriteBufferSize:    writeBuffer,
		MaxRequestBodySize: 1 << 40, // the cap of the route decides, in admission
		StreamRequestBody:  true,
		// Answers are flushed one by one and an idle connection keeps no writer.
		ReduceMemoryUsage:            true,
		LazyRequestTime:              true,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true,
		Logger:                       quiet{},
		Concurrency:                  1 << 30,
	}
	s.sweeping.Add(1)
	go s.sweep()
	return s, nil
}

func (c Config) withDefaults() Config {
	if c.BodyAllowance <= 0 {
		c.BodyAllowance = 256 << 20
	}
	if c.KeepAlive <= 0 {
		c.KeepAlive = 120 * time.Second
	}
	if c.HeaderTimeout <= 0 {
		c.HeaderTimeout = 10 * time.Second
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Swap puts a new generation of the configuration in force. Requests admitted
// before keep the one that they began with.
func (s *Server) Swap(g Gateway, r Rules) {
	s.gateway.Store(&held{g, r.withDefaults()})
	if g != nil {
		s.own.Config.Store(g.Generation())
	}
}

// Open is the number of client connections, those of the private socket left
// out.
func (s *Server) Open() int64 { return s.own.Conns.Load() }

// Wait returns when no client connection is left, or with the context's error.
func (s *Server) Wait(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.conns.clients.Load() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// Close ends every connection at once, stops all acceptors and the sweeper,
// and waits for their goroutines. Descriptors given to Listen are closed.
func (s *Server) Close() {
	s.lame.Store(true)
	s.accept.close()
	s.conns.each(func(c *conn) { c.kill() })
	s.serving.Wait()
	close(s.stop)
	s.sweeping.Wait()
}

// quiet drops fasthttp's own log lines: what it would say is counted or
// answered here, and it would quote request bytes.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
