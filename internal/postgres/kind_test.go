package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"sluice/internal/postgres"
)

// TestLoginOrTLS: a server that lets nobody in without a certificate, or without
// TLS, has the code of one that refuses the login. The texts are those of
// PostgreSQL 15 with hostssl and clientcert.
func TestLoginOrTLS(t *testing.T) {
	for text, want := range map[string]postgres.Kind{
		`connection requires a valid client certificate`:                                           postgres.TLS,
		`no pg_hba.conf entry for host "127.0.0.1", user "postgres", database "s", no encryption`:  postgres.TLS,
		`no pg_hba.conf entry for host "127.0.0.1", user "postgres", database "s", SSL encryption`: postgres.Password,
		`certificate authentication failed for user "client"`:                                      postgres.Password,
	} {
		if got := postgres.Classify(&pgconn.PgError{Code: "28000", Message: text}); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
