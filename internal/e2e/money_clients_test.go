//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// moneyKind is one kind of call.
type moneyKind struct {
	group  string
	stream bool
	usage  bool // the client asks for the usage chunk itself
	leave  bool // the client goes before the end
	weight int
}

// moneyKinds is the mixed load of the chaos runs.
var moneyKinds = []moneyKind{
	{group: "whole", weight: 8},
	{group: "slow", weight: 5},
	{group: "stream", stream: true, weight: 5},
	{group: "stream", stream: true, usage: true, weight: 3},
	{group: "long", stream: true, weight: 3},
	{group: "long", stream: true, leave: true, weight: 2},
	{group: "stream", stream: true, leave: true, weight: 2},
	{group: "slow", leave: true, weight: 2},
	{group: "next", weight: 2},
	{group: "next", stream: true, weight: 2},
	{group: "again", weight: 1},
	{group: "refused", weight: 1},
	{group: "broken", stream: true, weight: 1},
	{group: "broken", weight: 1},
	{group: "silent", weight: 1},
	{group: "silent", stream: true, weight: 1},
	{group: "free", weight: 1},
}

// moneyCall is one call and what its client knows of it.
type moneyCall struct {
	id       string
	kind     moneyKind
	key      int
	customer string
	status   int  // 0: no answer came
	whole    bool // the answer came to its end, and was a success
	said     usageOf
	text     string // content that came in a stream
	received int    // bytes of the body
	began    time.Time
	ended    time.Time
	header   http.Header
	body     []byte // of an answer that is no success
}

// usageOf is what an answer says of tokens.
type usageOf struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
}

// moneyLoad sends calls until it is stopped.
type moneyLoad struct {
	w      *moneyWorld
	prefix string
	client *http.Client
	over   chan struct{}
	done   sync.WaitGroup
	number atomic.Int64

	mu    sync.Mutex // guards calls
	calls []moneyCall
}

// newLoad prepares clients; ids begin with the prefix.
func (w *moneyWorld) newLoad(prefix string) *moneyLoad {
	return &moneyLoad{
		w: w, prefix: prefix, over: make(chan struct{}),
		client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}},
	}
}

// start runs so many clients, each with another call as soon as one is over and
// it has thought for up to the time given.
func (l *moneyLoad) start(clients int, think time.Duration, kinds []moneyKind) *moneyLoad {
	var sum int
	for _, k := range kinds {
		sum += k.weight
	}
	for range clients {
		l.done.Go(func() {
			for {
				select {
				case <-l.over:
					return
				case <-time.After(rand.N(think)):
				}
				n := rand.IntN(sum)
				for _, k := range kinds {
					if n -= k.weight; n < 0 {
						l.call(k, rand.IntN(len(l.w.keys)))
						break
					}
				}
			}
		})
	}
	return l
}

// rate sends so many calls a second, each due at its time whatever became of
// those before, until it is stopped.
func (l *moneyLoad) rate(perSecond int, kinds []moneyKind) *moneyLoad {
	epoch := time.Now()
	l.done.Go(func() {
		for i := 0; ; i++ {
			due := time.Duration(i) * time.Second / time.Duration(perSecond)
			select {
			case <-l.over:
				return
			case <-time.After(time.Until(epoch.Add(due))):
			}
			l.done.Go(func() { l.call(kinds[i%len(kinds)], i%len(l.w.keys)) })
		}
	})
	return l
}

// stop ends the calls and waits for the last answers.
func (l *moneyLoad) stop() []moneyCall {
	close(l.over)
	l.done.Wait()
	l.client.CloseIdleConnections()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

// sofar is the calls that are over.
func (l *moneyLoad) sofar() []moneyCall {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

// call makes one call with one of the world's keys.
func (l *moneyLoad) call(k moneyKind, key int) moneyCall {
	n := l.number.Add(1)
	c := moneyCall{id: fmt.Sprintf("%s-%d", l.prefix, n), kind: k, key: key}
	if n%3 == 0 {
		c.customer = fmt.Sprintf("customer-%d", n%5)
	}
	l.send(&c, l.w.url, l.w.keys[key].key, 0, -1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
	return c
}

// send makes the call. Clients that leave do so after so many bytes of the body,
// or after a random while with -1. tokens caps the output where it is not 0.
func (l *moneyLoad) send(c *moneyCall, url, key string, tokens, leaveAt int) {
	var b strings.Builder
	fmt.Fprintf(&b, `{"model":%q,"prompt_cache_key":%q`, c.kind.group, c.id)
	if c.customer != "" {
		fmt.Fprintf(&b, `,"user":%q`, c.customer)
	}
	if c.kind.stream {
		b.WriteString(`,"stream":true`)
		if c.kind.usage {
			b.WriteString(`,"stream_options":{"include_usage":true}`)
		}
	}
	if tokens > 0 {
		fmt.Fprintf(&b, `,"max_tokens":%d`, tokens)
	}
	fmt.Fprintf(&b, `,"messages":[{"role":"user","content":"What does %s cost?"}]}`, c.id)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(b.String()))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("x-litellm-call-id", c.id)
	if c.kind.leave && leaveAt < 0 {
		timer := time.AfterFunc(rand.N(400*time.Millisecond), cancel)
		defer timer.Stop()
	}
	c.began = time.Now()
	defer func() { c.ended = time.Now() }()
	resp, err := l.client.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	c.status, c.header = resp.StatusCode, resp.Header
	var body []byte
	if leaveAt >= 0 {
		body = make([]byte, leaveAt)
		n, _ := io.ReadFull(resp.Body, body)
		body, err = body[:n], errors.New("left")
	} else {
		body, err = io.ReadAll(resp.Body)
	}
	c.read(body, err)
}

// read takes in what came of a body.
func (c *moneyCall) read(body []byte, err error) {
	c.received = len(body)
	if c.status != http.StatusOK {
		c.body = body
		return
	}
	var answer struct {
		Usage   *usageOf `json:"usage"`
		Choices []struct {
			Delta struct {
				Content string `json:"content"`
			} `json:"delta"`
		} `json:"choices"`
	}
	if !c.kind.stream {
		if err == nil && json.Unmarshal(body, &answer) == nil {
			c.whole = true
			if answer.Usage != nil {
				c.said = *answer.Usage
			}
		}
		return
	}
	for event := range bytes.SplitSeq(body, []byte("\n\n")) {
		data, ok := bytes.CutPrefix(event, []byte("data: "))
		if !ok {
			continue
		}
		if string(data) == "[DONE]" {
			c.whole = err == nil
			continue
		}
		answer.Usage, answer.Choices = nil, nil // what was read before would show through
		if json.Unmarshal(data, &answer) != nil {
			continue
		}
		if answer.Usage != nil {
			c.said = *answer.Usage
		}
		for _, choice := range answer.Choices {
			c.text += choice.Delta.Content
		}
	}
}
