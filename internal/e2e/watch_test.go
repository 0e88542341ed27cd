//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// ask is one request that tells whether a change is in force.
type ask struct {
	key   string
	model string // of a chat; "" asks for the list of models
	user  string // the customer that the chat is for
}

// seat is a slot of a host, asked over the private socket of whichever worker
// takes requests in it now. It is for one goroutine.
type seat struct {
	host       *Appliance
	table      *fleet.Table
	name       string
	slot       int
	generation int
	client     *http.Client
}

// seats are the slots of a host, the same for every caller of the name.
func (a *Appliance) seats(name string, table *fleet.Table) []*seat {
	out := make([]*seat, table.Slots())
	for i := range out {
		out[i] = &seat{host: a, table: table, name: name + "/" + strconv.Itoa(i), slot: i}
	}
	return out
}

// send asks the worker that is ready and returns the status; 0 where there is
// none, or where it ended meanwhile.
func (s *seat) send(q ask) int {
	generation := int(s.table.Slot(s.slot).Generation.Load())
	area := s.table.Find(generation)
	if generation == 0 || area < 0 || fleet.State(s.table.Generation(area).State.Load()) != fleet.StateReady {
		return 0
	}
	if generation != s.generation {
		s.close()
		socket := fleet.Dir(s.host.Dir).Worker(s.slot, generation)
		s.generation = generation
		s.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		}}
	}
	method, path, body := http.MethodPost, "/v1/chat/completions", ""
	if q.model == "" {
		method, path = http.MethodGet, "/v1/models"
	} else {
		user := ""
		if q.user != "" {
			user = `,"user":` + strconv.Quote(q.user)
		}
		body = `{"model":` + strconv.Quote(q.model) + `,"messages":[{"role":"user","content":"x"}]` + user + `}`
	}
	req, err := http.NewRequestWithContext(context.Background(), method, "http://worker"+path, strings.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+q.key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0
	}
	return resp.StatusCode
}

func (s *seat) close() {
	if s.client != nil {
		s.client.CloseIdleConnections()
	}
}

// sight is what one seat answered around a change.
type sight struct {
	seat   *seat
	own    bool      // of the host that made the change
	old    time.Time // when the newest request was sent that was answered as before the change
	new    time.Time // when the first answer came that is as after it
	back   int       // requests sent after that, and answered as before
	odd    map[int]int
	served int
}

// watch asks every seat all the time.
type watch struct {
	mu     sync.Mutex // guards sights
	sights []*sight
	stop   context.CancelFunc
	done   sync.WaitGroup
}

func watchSeats(ctx context.Context, seats []*seat, own *Appliance, q ask, before, after int) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{stop: cancel}
	for _, s := range seats {
		g := &sight{seat: s, own: s.host == own, odd: map[int]int{}}
		w.sights = append(w.sights, g)
		w.done.Go(func() {
			for ctx.Err() == nil {
				sent := time.Now()
				status := s.send(q)
				w.note(g, sent, status, before, after)
				pause := 5 * time.Millisecond
				if g.own {
					pause = time.Millisecond
				}
				time.Sleep(pause)
			}
		})
	}
	return w
}

func (w *watch) note(g *sight, sent time.Time, status, before, after int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch status {
	case 0:
		return // no worker at this moment
	case before:
		g.old = sent
		if !g.new.IsZero() && sent.After(g.new) {
			g.back++
		}
	case after:
		if g.new.IsZero() {
			g.new = time.Now()
		}
	default:
		g.odd[status]++
	}
	g.served++
}

// seen reports whether every seat has answered as after the change.
func (w *watch) seen() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.sights {
		if g.new.IsZero() {
			return false
		}
	}
	return true
}

// bound is how late another host may see a change.
const bound = time.Second

// end stops the watch and judges: the host of the change must answer as after
// it to all that is sent after its answer came, others within the bound. It
// returns how late each other host's last seat was, and what is wrong.
func (w *watch) end(answered time.Time) (late []time.Duration, wrong []string) {
	w.stop()
	w.done.Wait()
	for _, g := range w.sights {
		complain := func(format string, args ...any) {
			wrong = append(wrong, g.seat.name+": "+fmt.Sprintf(format, args...))
		}
		after := g.old.Sub(answered)
		switch {
		case g.new.IsZero():
			complain("the change was never seen, in %d answers", g.served)
		case g.own && after > 0:
			complain("a request sent %v after the change was answered was served as before it", after)
		case after > bound:
			complain("a request sent %v after the change was served as before it", after)
		}
		if !g.own && !g.new.IsZero() {
			late = append(late, max(g.new.Sub(answered), 0))
		}
		if g.back > 0 {
			complain("%d requests were served as before the change after others were not", g.back)
		}
		if len(g.odd) > 0 {
			complain("statuses that nothing explains: %v", g.odd)
		}
	}
	return late, wrong
}

// until waits until every seat answers with a status; it says which does not.
func until(seats []*seat, q ask, status int, within time.Duration) error {
	deadline := time.Now().Add(within)
	for _, s := range seats {
		for {
			got := s.send(q)
			if got == status {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s: %+v is answered with %d after %v, want %d", s.name, q, got, within, status)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	return nil
}

// closeSeats ends idle connections, so that nothing keeps an appliance from
// stopping.
func closeSeats(t *testing.T, seats []*seat) {
	t.Cleanup(func() {
		for _, s := range seats {
			s.close()
		}
	})
}
