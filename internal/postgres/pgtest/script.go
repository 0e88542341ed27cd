package pgtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Run runs statements on a database, as many as the text holds, in one message
// of the simple protocol. A text of one statement is in no transaction block; of
// several, PostgreSQL makes one around them.
func Run(ctx context.Context, databaseURL, statements string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return conn.PgConn().Exec(ctx, statements).Close()
}

// RunAll runs several texts as Run does, one after the other, on one connection.
// The error says which one it was, counted from 0.
func RunAll(ctx context.Context, databaseURL string, texts []string) (failed int, err error) {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for i, text := range texts {
		if err := conn.PgConn().Exec(ctx, text).Close(); err != nil {
			return i, err
		}
	}
	return 0, nil
}

// Rows asks a database and returns every row as texts; NULL is "NULL". It has
// two minutes.
func Rows(tb testing.TB, databaseURL, query string) [][]string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		tb.Fatalf("connect: %v", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	results, err := conn.PgConn().Exec(ctx, query).ReadAll()
	if err != nil {
		tb.Fatalf("%.300s: %v", query, err)
	}
	var out [][]string
	for _, result := range results {
		for _, row := range result.Rows {
			texts := make([]string, len(row))
			for i, value := range row {
				texts[i] = "NULL"
				if value != nil {
					texts[i] = string(value)
				}
			}
			out = append(out, texts)
		}
	}
	return out
}
