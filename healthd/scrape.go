package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sluice/supervisor/fleet"
)

const (
	scrapeFresh   = time.Second      // what is shown is no older
	scrapeRest    = 5 * time.Second  // between rounds that nobody asks for: what a killed worker may take along
	scrapeMost    = 15 * time.Second // between two rounds that take long
	scrapeTimeout = 500 * time.Millisecond
	// maxExposition bounds what one worker may say.
	maxExposition = 32 << 20
)

// scraper pulls the metrics of every living generation, folds what the dead have
// left, and renders the result. It does so when somebody asks, and now and then
// by itself.
type scraper struct {
	dir    fleet.Dir
	seen   *observer
	log    *slog.Logger
	client *http.Client

	mu         sync.Mutex // held through a round: who asks meanwhile gets its result
	ledger     *ledger
	began      time.Time // of the last round
	next       time.Time // not before
	merged     []byte    // rendered when first asked for, nil after a round
	perWorker  []byte
	saveFailed bool

	rounds, failures atomic.Uint64
	took             atomic.Int64 // ns, the last round
}

func newScraper(dir fleet.Dir, seen *observer, log *slog.Logger) *scraper {
	s := &scraper{dir: dir, seen: seen, log: log}
	started := seen.table.Load().Header().StartedAt.Load()
	var err error
	if s.ledger, err = loadLedger(s.path(), started); err != nil {
		log.Warn("counters begin anew", slog.String("error", err.Error()))
	}
	s.removeStale(time.Unix(0, started))
	s.client = &http.Client{Timeout: scrapeTimeout, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			var d net.Dialer
			slot, generation, err := parseHost(addr)
			if err != nil {
				return nil, err
			}
			return d.DialContext(ctx, "unix", dir.Worker(slot, generation))
		},
		MaxIdleConnsPerHost: 1, IdleConnTimeout: 5 * time.Second, DisableCompression: true,
	}}
	return s
}

func (s *scraper) path() string { return filepath.Join(s.dir.Run(), "healthd-metrics.json") }

// parseHost reads the made-up host name of a generation, "worker-SLOT-GENERATION".
func parseHost(addr string) (slot, generation int, err error) {
	if _, err := fmt.Sscanf(addr, "worker-%d-%d", &slot, &generation); err != nil {
		return 0, 0, fmt.Errorf("host %q is no worker: %w", addr, err)
	}
	return slot, generation, nil
}

// run watches the appliance and scrapes until ctx ends.
func (s *scraper) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s.seen.watch()
		s.mu.Lock()
		s.refresh(ctx, scrapeRest)
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// exposition is what all workers count, added up or each for itself, no older
// than scrapeFresh. It must not be changed.
func (s *scraper) exposition(ctx context.Context, perWorker bool) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(ctx, scrapeFresh)
	if perWorker {
		if s.perWorker == nil {
			s.perWorker = render(s.ledger.perWorker())
		}
		return s.perWorker
	}
	if s.merged == nil {
		s.merged = render(s.ledger.merged())
	}
	return s.merged
}

// refresh takes a round when the last one is older than age. Where workers have
// very much to tell, rounds are rarer: a tenth of a CPU is what counting may
// cost. mu is held.
func (s *scraper) refresh(ctx context.Context, age time.Duration) {
	began := time.Now()
	if began.Sub(s.began) < age || began.Before(s.next) {
		return
	}
	s.round(ctx)
	took := time.Since(began)
	s.began, s.next = began, began.Add(min(10*took, scrapeMost))
	s.took.Store(int64(took))
}

type pulled struct {
	slot, generation int
	text             []byte
	err              error
}

// round is one turn: pull the living, fold the dead, save. Nothing is exported
// before it is saved.
func (s *scraper) round(ctx context.Context) {
	table := s.seen.table.Load()
	var wg sync.WaitGroup
	var results []*pulled
	present := map[int]bool{}
	for i := range table.Areas() {
		g := table.Generation(i)
		p := &pulled{generation: int(g.Number.Load()), slot: int(g.Slot.Load())}
		if p.generation == 0 || fleet.State(g.State.Load()) == fleet.StateDead {
			continue
		}
		present[p.generation] = true
		if g.Ready.Load() == 0 {
			continue
		}
		results = append(results, p)
		wg.Go(func() { p.text, p.err = s.pull(ctx, p.slot, p.generation) })
	}
	wg.Wait()
	for _, p := range results {
		if p.err != nil {
			s.failures.Add(1)
			continue
		}
		s.ledger.take(p.slot, p.generation, p.text)
	}
	s.foldDead(present)
	if err := s.ledger.save(s.path()); err != nil {
		if !s.saveFailed {
			s.log.Error("counters may go backwards when this process is killed", slog.String("error", err.Error()))
		}
		s.saveFailed = true
	} else {
		s.saveFailed = false
	}
	s.merged, s.perWorker = nil, nil
	s.rounds.Add(1)
}

func (s *scraper) pull(ctx context.Context, slot, generation int) ([]byte, error) {
	url := "http://worker-" + strconv.Itoa(slot) + "-" + strconv.Itoa(generation) + "/metrics"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("worker %d answered %d", generation, resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxExposition))
}

// foldDead folds generations that have left the table, with the dump that they
// may have left, and dumps of generations that were never scraped.
func (s *scraper) foldDead(present map[int]bool) {
	for generation, m := range s.ledger.living {
		if !present[generation] {
			s.foldOne(m.slot, generation)
		}
	}
	dumps, err := filepath.Glob(filepath.Join(s.dir.Run(), "worker-*-*.prom"))
	if err != nil {
		return
	}
	for _, dump := range dumps {
		slot, generation, err := parseHost(filepath.Base(dump))
		if err == nil && !present[generation] {
			s.foldOne(slot, generation)
		}
	}
}

// foldOne folds and saves before the dump is removed: killed in between, the
// next healthd finds the generation among the folded ones.
func (s *scraper) foldOne(slot, generation int) {
	path := s.dir.Metrics(slot, generation)
	last, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("read last metrics of a worker", slog.Int("generation", generation), slog.String("error", err.Error()))
	}
	s.ledger.fold(slot, generation, last)
	if last == nil {
		return
	}
	if err := s.ledger.save(s.path()); err == nil {
		_ = os.Remove(path)
	}
}

// removeStale removes dumps of an earlier life of the appliance, whose
// generation numbers may come again.
func (s *scraper) removeStale(started time.Time) {
	dumps, err := filepath.Glob(filepath.Join(s.dir.Run(), "worker-*-*.prom"))
	if err != nil {
		return
	}
	for _, dump := range dumps {
		if st, err := os.Stat(dump); err == nil && st.ModTime().Before(started) {
			_ = os.Remove(dump)
		}
	}
}
