package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// spare is what a host needs beside its pools: the observer, the listener, and
// a migrator or an operator.
const spare = 3

// Room is how the connections that all hosts may open compare with what the
// server gives.
type Room struct {
	Hosts, Workers, Limit int // the parts of the formula
	Needed                int // hosts x (workers x limit + 3)
	Most                  int // what roles without privileges may open together
	Open                  int // clients connected now, ours included
	Pooled                bool
}

// Room asks the server how many connections it gives.
func (p *Pool) Room(ctx context.Context, hosts, workers int) (Room, error) {
	r := Room{Hosts: max(hosts, 1), Workers: max(workers, 1), Limit: p.config.Limit}
	r.Needed = r.Hosts * (r.Workers*r.Limit + spare)
	err := p.Do(ctx, func(conn *pgx.Conn) error {
		// A limit of the role or the database is below the server's.
		return conn.QueryRow(ctx, `SELECT least(
				current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
					- coalesce(current_setting('reserved_connections', true)::int, 0),
				(SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
				(SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())),
			(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')`).Scan(&r.Most, &r.Open)
	})
	r.Pooled = p.Bouncer()
	if err != nil {
		return r, fmt.Errorf("ask for the room for connections: %w", err)
	}
	return r, nil
}

// Tight is true from 80 % of what the server gives. With a pooler in between it
// is the pooler's to share them out.
func (r Room) Tight() bool { return !r.Pooled && r.Needed*5 > r.Most*4 }

// String is the formula with its numbers.
func (r Room) String() string {
	return fmt.Sprintf("%d hosts x (%d workers x %d connections + %d) = %d of %d connections",
		r.Hosts, r.Workers, r.Limit, spare, r.Needed, r.Most)
}
