//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The times of an outage, as clients meet them.
const (
	dbThere  = iota
	dbGoing  // it is being stopped
	dbAway   // it was away before the request was sent
	dbComing // it answers again, but need not have been noticed
	dbBack
)

// The clients of an outage, by what they want.
const (
	wantKnown   = "a known key"
	wantStream  = "a known key, streamed"
	wantBlocked = "a blocked key"
	wantUnknown = "an unknown key"
	wantWrite   = "a management call"
)

// asked is one request and what became of it. status 0 is none from the
// gateway: the connection broke, or the balancer answered for it.
type asked struct {
	want       string
	from, to   int // when it was sent and answered
	began, end time.Time
	status     int
	retryAfter string
	detail     string
}

// callers is all clients of an outage. They are sent by way of one address.
type callers struct {
	t       *testing.T
	url     string
	master  string
	known   []string
	blocked string

	phase  atomic.Int32
	over   chan struct{}
	done   sync.WaitGroup
	client *http.Client

	mu      sync.Mutex // guards what follows
	counts  map[string]int
	worst   map[string]time.Duration
	wrong   []asked // answered as they must not be
	lost    []asked // not answered by the gateway
	refused []string
	made    []string // aliases of keys that were made, and of those that were refused
	number  int
}

func newCallers(t *testing.T, url string) *callers {
	return &callers{
		t: t, url: url, master: MasterKey, over: make(chan struct{}), counts: map[string]int{}, worst: map[string]time.Duration{},
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}},
	}
}

// start sends them: known keys as fast as they are answered, of the others so
// many a second.
func (c *callers) start() {
	loop := func(every time.Duration, one func(i int)) {
		c.done.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-c.over:
					return
				case <-time.After(every):
					one(i)
				}
			}
		})
	}
	for n := range 6 {
		loop(0, func(i int) { c.chat(wantKnown, c.known[(i+n*7)%len(c.known)], false) })
	}
	for n := range 2 {
		loop(0, func(i int) { c.chat(wantStream, c.known[(i+n*7)%len(c.known)], true) })
	}
	loop(25*time.Millisecond, func(int) { c.chat(wantBlocked, c.blocked, false) })
	for range 4 {
		loop(50*time.Millisecond, func(i int) {
			c.chat(wantUnknown, fmt.Sprintf("sk-nobody-has-this-key-%d-%d", i, time.Now().UnixNano()), false)
		})
	}
	for range 2 {
		loop(200*time.Millisecond, func(int) { c.write() })
	}
}

// stop ends them and waits for their last answers.
func (c *callers) stop() {
	close(c.over)
	c.done.Wait()
	c.client.CloseIdleConnections()
}

func (c *callers) chat(want, key string, stream bool) {
	c.ask(want, "/v1/chat/completions", key, fmt.Sprintf(`{"model":"mock","stream":%v,"messages":[{"role":"user","content":"x"}]}`, stream))
}

// write makes a key. Its alias tells afterwards whether anything was written.
func (c *callers) write() {
	c.mu.Lock()
	c.number++
	alias := "written-" + strconv.Itoa(c.number)
	c.mu.Unlock()
	a := c.ask(wantWrite, "/key/generate", c.master, fmt.Sprintf(`{"key_alias":%q,"metadata":{"of":"the outage"}}`, alias))
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case a.status == http.StatusOK:
		c.made = append(c.made, alias)
	case a.status == http.StatusServiceUnavailable && a.from == dbAway:
		c.refused = append(c.refused, alias)
	}
}

// ask sends one request and judges its answer.
func (c *callers) ask(want, path, key, body string) asked {
	a := asked{want: want, from: int(c.phase.Load()), began: time.Now()}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.url+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		a.detail = err.Error()
	} else {
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		a.detail = fmt.Sprintf("%d %.300s", resp.StatusCode, text)
		whole := err == nil && (want != wantStream || resp.StatusCode != http.StatusOK || bytes.HasSuffix(text, []byte("data: [DONE]\n\n")))
		if resp.Header.Get("X-Request-Id") != "" && whole {
			a.status, a.retryAfter = resp.StatusCode, resp.Header.Get("Retry-After")
		} else if err != nil {
			a.detail += " " + err.Error()
		}
	}
	a.end, a.to = time.Now(), int(c.phase.Load())
	c.note(&a)
	return a
}

// note counts an answer and keeps those that should have been others.
func (c *callers) note(a *asked) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[fmt.Sprintf("%s, %s: %d", a.want, [...]string{"there", "going", "away", "coming", "back"}[a.from], a.status)]++
	if a.status == 0 {
		c.lost = append(c.lost, *a)
		return
	}
	c.worst[a.want] = max(c.worst[a.want], a.end.Sub(a.began))
	if !slices.Contains(a.may(), a.status) || a.status == http.StatusServiceUnavailable && a.retryAfter == "" {
		c.wrong = append(c.wrong, *a)
	}
}

// may lists the statuses that a request may be answered with.
func (a *asked) may() []int {
	switch a.want {
	case wantKnown, wantStream:
		return []int{http.StatusOK}
	case wantBlocked:
		return []int{http.StatusUnauthorized}
	}
	good := http.StatusUnauthorized
	if a.want == wantWrite {
		good = http.StatusOK
	}
	switch {
	case a.from == dbAway && a.to == dbAway:
		return []int{http.StatusServiceUnavailable}
	case a.from == a.to && a.from != dbComing && a.from != dbGoing:
		return []int{good}
	default:
		return []int{good, http.StatusServiceUnavailable}
	}
}

// explained reports whether a request was lost with a worker that was killed.
func (a *asked) explained(kills []time.Time) bool {
	return slices.ContainsFunc(kills, func(at time.Time) bool {
		return a.began.Before(at.Add(100*time.Millisecond)) && a.end.After(at) && a.end.Before(at.Add(2*time.Second))
	})
}

// problems are the answers that should not have been, told of in a few lines.
func (c *callers) problems(kills []time.Time) (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tell := func(what string, list []asked) {
		for i, a := range list {
			if i == 8 {
				out = append(out, fmt.Sprintf("and %d more %s", len(list)-i, what))
				break
			}
			out = append(out, fmt.Sprintf("%s: %s, sent %s in phase %d, answered after %v in phase %d: %s",
				what, a.want, a.began.Format("05.000"), a.from, a.end.Sub(a.began).Round(time.Millisecond), a.to, a.detail))
		}
	}
	tell("wrong", c.wrong)
	tell("lost", slices.DeleteFunc(slices.Clone(c.lost), func(a asked) bool { return a.explained(kills) }))
	return out
}

// log prints what was counted.
func (c *callers) log(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(c.counts)) {
		c.t.Logf("show 2: %s: %6d × %s", name, c.counts[what], what)
	}
	c.t.Logf("show 2: %s: longest waits %v, %d lost in all", name, c.worst, len(c.lost))
}
