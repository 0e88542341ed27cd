package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// forgotten is when a host that was not seen any more leaves the list.
const forgotten = 7 * 24 * time.Hour

// forgetEvery is how many times a process sees its host until it looks for those
// that are to leave the list again.
const forgetEvery = 100

// Host is a machine whose workers use this database.
type Host struct {
	ID         string
	Name       string
	Version    string            // of the release
	Keys       map[string]string // the sealing keys that it can open: id, fingerprint
	WritesWith string            // id of the one that is first in its ring; "": it was stopped
	StartedAt  time.Time
	SeenAt     time.Time // by the database's clock
}

// SawHost writes that a host is alive, now. Hosts that were silent for a week
// are removed.
func (s *Store) SawHost(ctx context.Context, h Host) error {
	keys := h.Keys
	if keys == nil {
		keys = map[string]string{}
	}
	text, err := json.Marshal(keys)
	if err != nil {
		return fmt.Errorf("write host %s: %w", h.ID, err)
	}
	d := s.db.dialect()
	now, past := s.clock()
	_, err = s.db.exec(ctx, `INSERT INTO sluice.hosts (host_id, name, version, sealing_keys, writes_with, started_at, seen_at)
		VALUES ($1, $2, $3, $4, $5, $6, `+now+`) ON CONFLICT (host_id) DO UPDATE SET name = excluded.name, version = excluded.version,
		sealing_keys = excluded.sealing_keys, writes_with = excluded.writes_with, started_at = excluded.started_at, seen_at = excluded.seen_at`,
		[]any{h.ID, h.Name, h.Version, string(text), h.WritesWith, d.time(h.StartedAt)})
	if err == nil && (s.saw.Add(1)-1)%forgetEvery == 0 {
		_, err = s.db.exec(ctx, "DELETE FROM sluice.hosts WHERE seen_at < "+past("$1"), []any{forgotten.Microseconds()})
	}
	if err != nil {
		return fmt.Errorf("write host %s: %w", h.ID, err)
	}
	return nil
}

// Hosts lists the hosts that were seen within a time, by their ids.
func (s *Store) Hosts(ctx context.Context, within time.Duration) ([]Host, error) {
	return s.hosts(ctx, s.db, within)
}

// Hosts is the same inside a transaction.
func (t *Tx) Hosts(within time.Duration) ([]Host, error) { return t.s.hosts(t.ctx, t.tx, within) }

func (s *Store) hosts(ctx context.Context, db querier, within time.Duration) ([]Host, error) {
	_, past := s.clock()
	var out []Host
	err := db.query(ctx, `SELECT host_id, name, version, sealing_keys, writes_with, started_at, seen_at FROM sluice.hosts
		WHERE seen_at >= `+past("$1")+` ORDER BY host_id`, []any{within.Microseconds()}, func(scan func(...any) error) error {
		var h Host
		var keys json.RawMessage
		err := scan(&h.ID, &h.Name, &h.Version, &letters{&keys}, &h.WritesWith, &moment{&h.StartedAt}, &moment{&h.SeenAt})
		if err == nil {
			err = json.Unmarshal(keys, &h.Keys)
		}
		out = append(out, h)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the hosts: %w", err)
	}
	return out, nil
}

// sqliteNow is the present as SQLite tells it.
const sqliteNow = "CAST(unixepoch('now', 'subsec') * 1000000 AS INTEGER)"

// clock is the time as the database tells it, so that hosts whose clocks differ
// agree on who is alive: now, and the moment a number of microseconds ago.
func (s *Store) clock() (now string, past func(micros string) string) {
	if s.db.dialect().sqlite { // one machine, one clock
		return sqliteNow, func(micros string) string { return sqliteNow + " - " + micros }
	}
	return "clock_timestamp()", func(micros string) string { return "clock_timestamp() - " + micros + " * interval '1 microsecond'" }
}

// Clock is the present as the database tells it: on SQLite this machine's.
func (s *Store) Clock(ctx context.Context) (at time.Time, err error) {
	now, _ := s.clock()
	if err := s.db.query(ctx, "SELECT "+now, nil, func(scan func(...any) error) error { return scan(&moment{&at}) }); err != nil {
		return at, fmt.Errorf("ask the database what time it is: %w", err)
	}
	return at, nil
}
