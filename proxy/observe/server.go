package observe

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"sluice/internal/postgres"
	"sluice/migrator/schema"
	"sluice/supervisor/fleet"
)

// server is PostgreSQL, over one connection that is opened when it is needed.
type server struct {
	source *postgres.Source
	conn   *pgx.Conn
	err    error // of the last look
}

// look reads the schema's version: an answer is the proof of life.
func (s *server) look(ctx context.Context) (uint32, fleet.Dependency) {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	var version uint32
	if version, s.err = s.version(ctx); s.err == nil {
		return version, fleet.DependencyConnected
	}
	s.close()
	return 0, fleet.DependencyDown
}

func (s *server) version(ctx context.Context) (uint32, error) {
	if s.conn == nil {
		conn, err := postgres.Open(ctx, s.source, postgres.Options{
			Application: "sluice-observe", ConnectTimeout: patient, StatementTimeout: patient,
		})
		if err != nil {
			return 0, err
		}
		s.conn = conn
	}
	var version uint32
	err := s.conn.QueryRow(ctx, "SELECT coalesce(max(version_id), 0)::int FROM "+schema.Name+"."+schema.VersionTable+
		" WHERE is_applied").Scan(&version)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P01" { // no such table: nobody has migrated
		return 0, nil
	}
	return version, err
}

func (s *server) close() {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patient/4)
	defer cancel()
	_ = s.conn.Close(ctx)
	s.conn = nil
}
