// Package fakeprovider is a provider of chat completions for tests and
// benchmarks. It speaks OpenAI's API over HTTP/1.1 that it writes itself, so
// that it can also speak it wrongly: the path prefix of the base URL scripts
// what goes wrong (see [Script]). Every answer follows from the request's id
// alone, its `prompt_cache_key` or else its `user` field, so that a client can work out the exact bytes that it
// must have received ([Shape.Stream], [Shape.Whole]), and a ledger keeps what
// was served to whom.
package fakeprovider

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// Config says how a provider listens and what it remembers. The zero value
// listens on a free port of 127.0.0.1 and keeps no ledger.
type Config struct {
	Addr   string // "" is 127.0.0.1:0; "unix:" and a path is a unix socket
	Ledger int    // most entries kept; 0 keeps none, further ones are counted only
	Raw    bool   // keep head and body of each request in its entry
	// Numbered gives each further request of an id an answer of its own, with an
	// id and tokens of its own, as real providers do.
	Numbered bool
	Model    string // the name in answers; "" is the constant Model
}

// Provider is a running fake provider. All methods are safe at once from
// several goroutines.
type Provider struct {
	cfg      Config
	listener net.Listener
	ledger   *Ledger
	plans    planCache
	served   atomic.Int64 // requests read whole
	open     atomic.Int64 // connections

	wg      sync.WaitGroup
	mu      sync.Mutex // guards conns, closed and charges
	conns   map[net.Conn]struct{}
	closed  bool
	charges []Charge
}

// New starts a provider. The caller must Close it.
func New(cfg Config) (*Provider, error) {
	network, addr := "tcp", cfg.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	if len(addr) > 5 && addr[:5] == "unix:" {
		network, addr = "unix", addr[5:]
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), network, addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the fake provider: %w", err)
	}
	if cfg.Model == "" {
		cfg.Model = Model
	}
	p := &Provider{cfg: cfg, listener: ln, ledger: newLedger(cfg.Ledger), conns: map[net.Conn]struct{}{}}
	p.wg.Add(1)
	go p.accept()
	return p, nil
}

// TB is what Start needs of a *testing.T.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Start runs a provider for the length of a test, with a ledger that keeps
// the raw requests.
func Start(t TB) *Provider {
	t.Helper()
	p, err := New(Config{Ledger: 1 << 20, Raw: true})
	if err != nil {
		t.Fatalf("start the fake provider: %v", err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// Addr is the address that the provider listens on.
func (p *Provider) Addr() net.Addr { return p.listener.Addr() }

// URL is the base URL of a script, ending in /v1: URL("s429,retry=7"). An
// empty script is the good provider.
func (p *Provider) URL(script string) string {
	base := "http://" + p.listener.Addr().String()
	if script != "" {
		base += "/" + script
	}
	return base + "/v1"
}

// Ledger is the record of what was served.
func (p *Provider) Ledger() *Ledger { return p.ledger }

// Served counts the requests that were read whole, ledger or not.
func (p *Provider) Served() int64 { return p.served.Load() }

// Open counts the connections that are open.
func (p *Provider) Open() int64 { return p.open.Load() }

// Close stops listening, cuts every connection and waits for their end.
func (p *Provider) Close() error {
	err := p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the fake provider: %w", err)
	}
	return nil
}

// Disconnect cuts every connection that is open now, idle or busy, with a
// reset; the provider goes on listening.
func (p *Provider) Disconnect() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

// accept runs until the listener is closed; each connection has a goroutine
// that Close waits for.
func (p *Provider) accept() {
	defer p.wg.Done()
	for number := int64(1); ; number++ {
		nc, err := p.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			_ = nc.Close()
			return
		}
		p.conns[nc] = struct{}{}
		p.mu.Unlock()
		p.open.Add(1)
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			c := &conn{p: p, nc: nc, number: number}
			c.serve()
			p.mu.Lock()
			delete(p.conns, nc)
			p.mu.Unlock()
			p.open.Add(-1)
		}()
	}
}
