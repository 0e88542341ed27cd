package pgtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Session is a connection that a test keeps. It is for one goroutine; its
// methods return errors, so that it need not be the test's own.
type Session struct{ conn *pgx.Conn }

// sessionTime bounds each call of a session.
const sessionTime = 30 * time.Second

// Open connects to a database until the test ends.
func Open(tb testing.TB, databaseURL string) *Session {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sessionTime)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		tb.Fatalf("connect: %v", err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &Session{conn}
}

// Close ends the session; the end of the test does too.
func (s *Session) Close() { _ = s.conn.Close(context.Background()) }

// Exec runs statements: in one transaction, unless they say otherwise.
func (s *Session) Exec(statements string) error {
	ctx, cancel := context.WithTimeout(context.Background(), sessionTime)
	defer cancel()
	if _, err := s.conn.Exec(ctx, statements, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("%s: %w", statements, err)
	}
	return nil
}

// Texts reads the rows of a query, each column as text.
func (s *Session) Texts(query string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), sessionTime)
	defer cancel()
	rows, err := s.conn.Query(ctx, query, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	defer rows.Close()
	var out [][]string
	for rows.Next() {
		row := make([]string, len(rows.RawValues()))
		for i, v := range rows.RawValues() {
			row[i] = string(v)
		}
		out = append(out, row)
	}
	return out, rows.Err()
}
