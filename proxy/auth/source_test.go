package auth

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/proxy/access"
	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/supervisor/fleet"
)

var errAway = errors.New("connection refused")

// source is a database in memory that counts what it is asked.
type source struct {
	mu      sync.Mutex
	number  int64
	data    identity.Resolved
	blocked []string
	spends  identity.Spenders
	asks    []identity.SpendersQuery
	touched map[string]time.Time
	err     error
	before  func() // runs inside each query, before it answers
	queries int
	digests int
	largest int
	at      []time.Time
	reached atomic.Int64
	reading func() // runs inside BlockedCustomers
}

func (s *source) Resolve(ctx context.Context, digests []string) (*identity.Resolved, error) {
	s.mu.Lock()
	s.queries++
	s.digests += len(digests)
	s.largest = max(s.largest, len(digests))
	s.at = append(s.at, time.Now())
	before := s.before
	out, err := s.find(digests), s.err
	s.mu.Unlock()
	if before != nil {
		before()
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// find copies objects as a database does: what a test changes later does not
// show in an answer that was given.
func (s *source) find(digests []string) *identity.Resolved {
	out := &identity.Resolved{
		Number: s.number, Users: copies(s.data.Users), Teams: copies(s.data.Teams), Members: copies(s.data.Members),
		Organizations: copies(s.data.Organizations), Projects: copies(s.data.Projects), Budgets: copies(s.data.Budgets),
		AccessGroups: copies(s.data.AccessGroups), OrganizationMembers: copies(s.data.OrganizationMembers),
	}
	want := map[string]bool{}
	for _, d := range digests {
		want[d] = true
	}
	for _, r := range s.data.Retired {
		if want[r.Token] {
			want[r.Active] = true
			out.Retired = append(out.Retired, r)
		}
	}
	for _, k := range s.data.Keys {
		if want[k.Token] {
			c := *k
			out.Keys = append(out.Keys, &c)
		}
	}
	return out
}

func copies[T any](list []*T) []*T {
	out := make([]*T, len(list))
	for i, o := range list {
		c := *o
		out[i] = &c
	}
	return out
}

func (s *source) Reached() { s.reached.Add(1) }

func (s *source) BlockedCustomers(context.Context) ([]string, error) {
	s.mu.Lock()
	s.queries++
	reading := s.reading
	ids, err := append([]string(nil), s.blocked...), s.err
	s.mu.Unlock()
	if reading != nil {
		reading()
	}
	return ids, err
}

// Spenders answers as a database does: with what has changed since.
func (s *source) Spenders(_ context.Context, q identity.SpendersQuery) (*identity.Spenders, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asks = append(s.asks, q)
	out := &identity.Spenders{Tags: s.spends.Tags, Budgets: copies(s.spends.Budgets)}
	for _, c := range s.spends.Customers {
		if c.Number > q.After || slices.Contains(q.IDs, c.ID) {
			out.Customers = append(out.Customers, c)
		}
	}
	if out.More = len(out.Customers) > q.Most; out.More {
		out.Customers = out.Customers[:q.Most]
	}
	return out, s.err
}

func (s *source) TouchKeys(_ context.Context, used map[string]time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	for k, at := range used {
		s.touched[k] = at
	}
	return nil
}

// change edits the database.
func (s *source) change(fn func(r *identity.Resolved)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	fn(&s.data)
}

func (s *source) fails(err error) {
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
}

func (s *source) asked() (queries, digests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries, s.digests
}

// rig is a directory over a source, and one generation of keys.
type rig struct {
	*Keys
	t   testing.TB
	src *source
	dir *Directory
	tab *fleet.Table
}

const master = "sk-master-of-the-tests"

func digest(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func newTable(t testing.TB) *fleet.Table {
	t.Helper()
	fd, err := unix.MemfdCreate("table", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	table, err := fleet.NewTable(fd, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = table.Close(); _ = syscall.Close(fd) })
	return table
}

func newSource() *source { return &source{touched: map[string]time.Time{}} }

func newRig(t testing.TB, src *source, set func(*DirectoryConfig, *Config)) *rig {
	t.Helper()
	r := &rig{t: t, src: src}
	d := DirectoryConfig{Source: src, Table: newTable(t), Wait: 300 * time.Millisecond, Query: time.Second}
	c := Config{MasterKey: master}
	if set != nil {
		set(&d, &c)
	}
	dir, err := NewDirectory(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dir.Close)
	c.Directory, r.dir, r.tab = dir, dir, d.Table
	r.Keys = New(c)
	return r
}

// key adds a key to the database.
func (s *source) key(text string, set func(k *identity.Key)) *identity.Key {
	k := &identity.Key{Token: digest(text), Name: "sk-..." + text[max(len(text)-4, 0):], Type: "default"}
	if set != nil {
		set(k)
	}
	s.change(func(r *identity.Resolved) { k.ChangeNumber = s.number; r.Keys = append(r.Keys, k) })
	return k
}

func (r *rig) good(key string) Identity {
	r.t.Helper()
	who, err := r.Identify([]byte(key))
	if err != nil || !who.Known {
		r.t.Fatalf("%s: %v", key, err)
	}
	return who
}

// refused checks status and type of a refusal.
func (r *rig) refused(key string, status int, typ string) *llm.Error {
	r.t.Helper()
	who, err := r.Identify([]byte(key))
	if err == nil {
		r.t.Fatalf("%s is let in as %+v", key, who)
	}
	if err.HTTPStatus() != status || err.TypeName() != typ || who.Known {
		r.t.Fatalf("%s: %d %s %v, want %d %s", key, err.HTTPStatus(), err.TypeName(), err, status, typ)
	}
	if status == 503 && err.RetryAfter <= 0 {
		r.t.Errorf("%s: 503 without Retry-After", key)
	}
	return err
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 5 s: %s", what)
}

var chat = &access.Route{Method: "POST", Path: "/v1/chat/completions", Group: access.GroupLLM}

func name(i int) string { return fmt.Sprintf("sk-test-key-%06d", i) }

// fixChecksum makes the checksum of an edited frame right.
func fixChecksum(frame []byte) {
	binary.LittleEndian.PutUint32(frame[8:], crc32.ChecksumIEEE(frame[frameHead:]))
}
