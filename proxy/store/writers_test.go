package store_test

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"sluice/internal/postgres/pgtest"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// TestWritersLeaveRoom: writers that wait for another host's change do not take
// the connections that lookups need.
func TestWritersLeaveRoom(t *testing.T) {
	url := migrated(t, pgtest.Database(t))
	s := openAt(t, url, store.Config{Pool: 4})
	holds := pgtest.Open(t, url)
	if err := holds.Exec("BEGIN; SELECT number FROM sluice.change_head WHERE id = 1 FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for range 12 {
		writers.Go(func() {
			err := s.Change(context.Background(), store.Actor{}, func(tx *store.Tx) error {
				return tx.Insert(&identity.Tag{Name: rand.Text()})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := s.Head(ctx); err != nil {
		t.Errorf("a lookup while writers wait: %v after %v", err, time.Since(began))
	}
	if err := holds.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	writers.Wait()
}
