package admin

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"sluice/proxy/store"
)

// TestKeyRaces has two callers do what only one can.
func TestKeyRaces(t *testing.T) {
	each(t, func(w *world) {
		w.create("k", M{})
		token := keyDigest(w.plain("k"))
		race := func(target string, body any) map[int]int {
			statuses := map[int]int{}
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					a := w.call("master", "POST", target, body)
					mu.Lock()
					statuses[a.Status]++
					mu.Unlock()
				})
			}
			wg.Wait()
			return statuses
		}
		if got := race("/key/generate", M{"key_alias": "one"}); got[200] != 1 || got[400] != 7 {
			t.Errorf("one alias for eight: %v", got)
		}
		if got := race("/key/generate", M{"key": "sk-the-same-key-for-everyone"}); got[200] != 1 || got[409] != 7 {
			t.Errorf("one secret for eight: %v", got)
		}
		if got := race("/key/"+token+"/regenerate", M{"grace_period": "1h"}); got[200] != 1 || got[404] != 7 {
			t.Errorf("eight regenerate one key: %v", got)
		}
		w.create("d", M{})
		if got := race("/key/delete", M{"keys": []string{w.plain("d")}}); got[200] != 1 || got[404] != 7 {
			t.Errorf("eight delete one key: %v", got)
		}
	})
}

// TestKeySecrecy looks for secrets of keys where they have no business.
func TestKeySecrecy(t *testing.T) {
	each(t, func(w *world) {
		first := w.create("k", M{"key": "sk-canary-canary-canary-01"})
		next := w.ok("master", "POST", "/key/"+first["key"].(string)+"/regenerate", M{"grace_period": "1h"})
		secrets := []string{first["key"].(string), next["key"].(string)}
		w.remember("next", secrets[1])
		w.refused(409, "", "master", "POST", "/key/generate", M{"key": secrets[0]})
		_, total, err := w.store.Changes(context.Background(), store.ChangeFilter{Limit: 100})
		if err != nil || total == 0 {
			t.Fatal(total, err)
		}
		changes, _, _ := w.store.Changes(context.Background(), store.ChangeFilter{Limit: 100})
		text, err := json.Marshal(changes)
		if err != nil {
			t.Fatal(err)
		}
		token := next["token"].(string)
		for _, call := range [][2]string{
			{"GET", "/key/info?key=" + token}, {"GET", "/key/list?return_full_object=true"}, {"GET", "/key/aliases"},
		} {
			text = append(text, w.call("master", call[0], call[1], nil).Raw...)
		}
		for _, post := range []string{"/key/update", "/key/block", "/key/unblock"} {
			text = append(text, w.call("master", "POST", post, M{"key": token}).Raw...)
		}
		for _, s := range secrets {
			if strings.Contains(string(text), s) || strings.Contains(w.log.String(), s) {
				t.Errorf("the secret %s is shown", s)
			}
		}
	})
}

// The name of a key never tells the most of a secret, however short that may be.
func TestShortKeyNames(t *testing.T) {
	each(t, func(w *world) {
		for _, c := range []struct{ key, name string }{
			{"sk-1", "sk-..."}, {"sk-1234", "sk-..."}, {"sk-0123456789012345abcd", "sk-..."}, {"sk-01234567890123456abcd", "sk-...abcd"},
		} {
			if got := w.ok("master", "POST", "/key/generate", M{"key": c.key})["key_name"]; got != c.name {
				w.Errorf("%s is called %v", c.key, got)
			}
		}
	}, func(c *Config) { c.ShortKeys = true })
}
