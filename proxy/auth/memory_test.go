package auth

import (
	"encoding/hex"
	"encoding/json"
	"runtime"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/supervisor/fleet"
)

// The bound of bytes is one of memory: what records are taken to need is about
// what they need.
func TestBytesOfRecords(t *testing.T) {
	const keys = 20_000
	src := newSource()
	r := newRig(t, src, nil)
	r.good(master)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for from := 0; from < keys; from += maxBatch {
		found := &identity.Resolved{}
		batch := make([]*flight, 0, maxBatch)
		for i := from; i < from+maxBatch; i++ {
			user := "user-of-the-test-" + name(i)
			k := &identity.Key{
				Token: digest(name(i)), Name: "sk-...abcd", Alias: "alias of " + name(i), Type: "default", UserID: user,
				Models: []string{"gpt-4o", "gpt-4o-mini", "text-embedding-3-small"}, Aliases: map[string]string{},
				Metadata: identity.Fields{"cost_center": json.RawMessage(`"4711"`), "owner": json.RawMessage(`"somebody"`)},
				Settings: identity.Fields{"tpm_limit_type": json.RawMessage(`null`)},
			}
			found.Keys = append(found.Keys, k)
			found.Users = append(found.Users, &identity.User{ID: user, Email: user + "@example.org", Role: "internal_user", Models: []string{"gpt-4o"}})
			d, err := digestOf(k.Token)
			if err != nil {
				t.Fatal(err)
			}
			batch = append(batch, &flight{digest: d})
		}
		r.dir.mu.Lock()
		r.dir.apply(found, batch)
		r.dir.mu.Unlock()
	}
	real := heap() - before
	r.dir.mu.Lock()
	counted, count := r.dir.records.bytes, r.dir.records.count
	r.dir.mu.Unlock()
	t.Logf("show: %d records, %d bytes each, taken for %d", count, real/count, counted/count)
	if counted < real*7/10 || counted > real*2 {
		t.Errorf("%d bytes are taken for %d", real, counted)
	}
	runtime.KeepAlive(r)
}

func digestOf(text string) (d [32]byte, err error) {
	_, err = hex.Decode(d[:], []byte(text))
	return d, err
}

// TestRetiredForgotten: old digests are remembered as long as their records are,
// however many there have been.
func TestRetiredForgotten(t *testing.T) {
	src := newSource()
	r := newRig(t, src, func(c *DirectoryConfig, _ *Config) { c.Records = 64 })
	const keys = 20_000
	for i := range keys {
		old, err := digestOf(digest(name(i) + " of before"))
		if err != nil {
			t.Fatal(err)
		}
		k := &identity.Key{Token: digest(name(i)), Type: "default"}
		found := &identity.Resolved{
			Keys: []*identity.Key{k}, Retired: []*identity.RetiredKey{{Token: hexOf(&old), Active: k.Token, RevokeAt: time.Now().Add(time.Hour)}},
		}
		r.dir.mu.Lock()
		r.dir.apply(found, []*flight{{digest: old}})
		leads := r.dir.retired[fleet.HashID(k.Token)]
		n := len(r.dir.retired)
		r.dir.mu.Unlock()
		if len(leads) != 1 || leads[0] != old {
			t.Fatalf("key %d: nothing leads from it to its old digest", i)
		}
		if n > 2048 {
			t.Fatalf("%d old digests are remembered for 64 records", n)
		}
	}
}
