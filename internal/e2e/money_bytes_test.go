//go:build e2e

package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
)

// byteModels are a stream that a client leaves and one that the provider cuts at
// the byte that the id of the call names.
var byteModels = []moneyModel{
	{group: "leave", id: "d-leave", script: "ok,n=12-18,size=4-40,every=15ms", in: 1250, out: 5003},
	{group: "cut", id: "d-cut", script: "cut,at=id,n=12-18,size=4-40", in: 1700, out: 3400, extra: ", num_retries: 0"},
}

// M11: a client leaves at every tenth byte of a stream, a provider cuts at every
// tenth byte: one settled row each, with the tokens that the provider had sent.
func TestMoneyEveryByte(t *testing.T) {
	for name, sqlite := range map[string]bool{"postgres": false, "sqlite": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newMoney(t, moneyOptions{Options: Options{Workers: 2}, sqlite: sqlite, models: byteModels})
			w.cast()
			script, err := fakeprovider.ParseScript(byteModels[1].script)
			if err != nil {
				t.Fatal(err)
			}
			step := length(10, 1)
			var mu sync.Mutex
			var calls []moneyCall
			var all sync.WaitGroup
			room := make(chan struct{}, 24)
			l := w.newLoad("bytes")
			most := len(script.Shape.Stream("bytes-cut-9999", "cut", true)) + 400 // ids differ, and so do answers
			for at := 0; at < most; at += step {
				for _, group := range []string{"leave", "cut"} {
					room <- struct{}{}
					all.Go(func() {
						defer func() { <-room }()
						c := moneyCall{id: fmt.Sprintf("bytes-%s-%d", group, at), kind: moneyKind{group: group, stream: true}, key: at / step % len(w.keys)}
						leaveAt := -1
						if group == "leave" {
							c.kind.leave, leaveAt = true, at
						}
						l.send(&c, w.url, w.keys[c.key].key, 0, leaveAt)
						mu.Lock()
						calls = append(calls, c)
						mu.Unlock()
					})
				}
			}
			all.Wait()
			v := w.settled(calls, 20*time.Second)
			t.Logf("M11 %s: %d calls ended at every %d bytes; %v", name, len(calls), step, v)
			for id, rows := range w.rows() {
				if len(rows) != 1 {
					t.Errorf("%s has %d rows: %s", id, len(rows), briefly(rows))
				}
			}
			if v.statuses["cut"] < len(calls)/2 {
				t.Errorf("few were cut: %v", v)
			}
		})
	}
}
