package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// server answers probes and scrapes on every listener that it is given.
type server struct {
	seen    *observer
	scraper *scraper
	log     *slog.Logger
	shown   *shown
	http    *http.Server
	wg      sync.WaitGroup
}

var alive200 = []byte(`"I'm alive!"`)

func newServer(seen *observer, certs *shown, log *slog.Logger) *server {
	s := &server{seen: seen, shown: certs, log: log}
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: 120 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s
}

// serve accepts on a listener until stop. It returns at once.
func (s *server) serve(l net.Listener) {
	s.wg.Go(func() {
		if err := s.http.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("listener ended", slog.String("address", l.Addr().String()), slog.String("error", err.Error()))
		}
	})
}

// serveUnix makes the private socket, in place of the one that a dead
// predecessor has left.
func (s *server) serveUnix(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("listen on private socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // a successor may have put its own there
	s.serve(l)
	return nil
}

// stop ends what is running within a second.
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	s.wg.Wait()
}

// ServeHTTP is the route table.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var handle func(http.ResponseWriter, *http.Request)
	path := r.URL.Path
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	switch path {
	case "/health/liveliness", "/health/liveness":
		handle = s.liveness
	case "/health/readiness", "/health":
		handle = s.readiness
	case "/metrics":
		handle = s.metrics
	case "/status":
		handle = s.status
	default:
		detail(w, http.StatusNotFound, "Not Found")
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		handle(w, r)
	case http.MethodOptions:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		w.WriteHeader(http.StatusOK)
	default:
		w.Header().Set("Allow", "GET, HEAD, OPTIONS")
		detail(w, http.StatusMethodNotAllowed, "Method Not Allowed")
	}
}

func (s *server) liveness(w http.ResponseWriter, _ *http.Request) {
	v := judge(s.seen.look())
	if v.live {
		answer(w, http.StatusOK, alive200)
		return
	}
	detail(w, http.StatusServiceUnavailable, v.liveWhy)
}

func (s *server) readiness(w http.ResponseWriter, _ *http.Request) {
	ob := s.seen.look()
	v := judge(ob)
	code := http.StatusOK
	if !v.ready {
		code = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	body, err := json.Marshal(readinessOf(s.seen.table.Load(), ob, v))
	if err != nil {
		detail(w, http.StatusInternalServerError, "readiness cannot be written")
		return
	}
	answer(w, code, body)
}

func (s *server) status(w http.ResponseWriter, _ *http.Request) {
	ob := s.seen.look()
	body, err := json.MarshalIndent(documentOf(s.seen.table.Load(), ob, judge(ob)), "", "  ")
	if err != nil {
		detail(w, http.StatusInternalServerError, "status cannot be written")
		return
	}
	answer(w, http.StatusOK, body)
}

func (s *server) metrics(w http.ResponseWriter, r *http.Request) {
	one := r.URL.Query().Get("per_worker")
	// A client that hangs up must not end a round that others wait for.
	body := s.scraper.exposition(context.WithoutCancel(r.Context()), one == "1" || one == "true")
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(body)
	_, _ = w.Write(s.shown.metrics(own(nil, s.seen.table.Load(), s.seen.look(), s.scraper)))
}

// answer writes a JSON body.
func answer(w http.ResponseWriter, code int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// detail writes an error as LiteLLM's health app does.
func detail(w http.ResponseWriter, code int, text string) {
	body, err := json.Marshal(map[string]string{"detail": text})
	if err != nil {
		body = []byte(`{"detail":""}`)
	}
	answer(w, code, body)
}
