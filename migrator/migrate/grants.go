package migrate

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/migrator/schema"
)

// What the role of the workers may do where the migrator has a role of its own.
// The record of changes is insert-only for it: chain_key and chain_mac are
// written where they are not there yet, and moving parts of the record to files
// is the migrator's.
var rights = map[string]string{
	"changes":           "SELECT, INSERT, UPDATE (chain_key, chain_mac)",
	"change_stretches":  "SELECT",
	schema.VersionTable: "SELECT",
}

const otherRights = "SELECT, INSERT, UPDATE, DELETE"

// lacking asks for the tables of ours on which a role has other rights than it
// should. Tables that belong to the role, or to one that it is a member of, are
// not among them: nothing can be taken from an owner. Neither are tables that
// belong to none of this session's roles.
const lacking = `SELECT c.relname FROM pg_class c, LATERAL (SELECT
		has_table_privilege($1, c.oid, 'SELECT') AS s, has_table_privilege($1, c.oid, 'INSERT') AS i,
		has_table_privilege($1, c.oid, 'UPDATE') AS u, has_table_privilege($1, c.oid, 'DELETE') AS d,
		has_table_privilege($1, c.oid, 'TRUNCATE') OR has_table_privilege($1, c.oid, 'TRIGGER') AS t) r
	WHERE c.relnamespace = $2::regnamespace AND c.relkind IN ('r', 'p')
		AND pg_has_role(current_user, c.relowner, 'USAGE') AND NOT pg_has_role($1, c.relowner, 'USAGE')
		AND NOT CASE c.relname
			WHEN 'changes' THEN s AND i AND NOT u AND NOT d AND NOT t
				AND has_column_privilege($1, c.oid, 'chain_key', 'UPDATE') AND has_column_privilege($1, c.oid, 'chain_mac', 'UPDATE')
			WHEN 'change_stretches' THEN s AND NOT (i OR u OR d OR t)
			WHEN $3 THEN s AND NOT (i OR u OR d OR t)
			ELSE s AND i AND u AND d END
	ORDER BY 1`

// grant gives the workers' role what it needs, and takes from it what it should
// not have. It writes nothing where that is so already, where the workers use
// the migrator's own role, or where the name is none of the server's roles, as
// behind a pooler that maps names.
func grant(ctx context.Context, conn *pgx.Conn, o Options, deadline time.Time) error {
	var mine, known bool
	err := conn.QueryRow(ctx, "SELECT current_user = $1, EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)", o.Workers).Scan(&mine, &known)
	if err != nil {
		return fmt.Errorf("look for the workers' role: %w", err)
	}
	if mine || !known {
		return nil
	}
	statements, err := grants(ctx, conn, o.Workers)
	if err != nil || len(statements) == 0 {
		return err
	}
	if err := lock(ctx, conn, o, deadline); err != nil {
		return err
	}
	if statements, err = grants(ctx, conn, o.Workers); err != nil || len(statements) == 0 { // somebody else was faster
		return err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, strings.Join(statements, "; "))
		return err
	})
	if err != nil {
		return fmt.Errorf("grant the workers' role %s what it needs: %w", o.Workers, err)
	}
	o.Log.Info("the workers' role was given its rights", slog.String("role", o.Workers))
	return nil
}

// grants are the statements that are needed, none where all is as it should be.
func grants(ctx context.Context, conn *pgx.Conn, role string) ([]string, error) {
	name := pgx.Identifier{role}.Sanitize()
	var out []string
	var uses, ours bool
	err := conn.QueryRow(ctx, `SELECT has_schema_privilege($1, oid, 'USAGE'), pg_has_role(current_user, nspowner, 'USAGE')
		FROM pg_namespace WHERE nspname = $2`, role, schema.Name).Scan(&uses, &ours)
	if err != nil {
		return nil, fmt.Errorf("read the rights of the workers' role: %w", err)
	}
	if !uses && ours {
		out = append(out, "GRANT USAGE ON SCHEMA "+schema.Name+" TO "+name)
	}
	rows, err := conn.Query(ctx, lacking, role, schema.Name, schema.VersionTable)
	if err != nil {
		return nil, fmt.Errorf("read the rights of the workers' role: %w", err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read the rights of the workers' role: %w", err)
	}
	for _, t := range tables {
		may, special := rights[t]
		if !special {
			may = otherRights
		}
		full := pgx.Identifier{schema.Name, t}.Sanitize()
		if special {
			out = append(out, "REVOKE ALL ON "+full+" FROM "+name)
		}
		out = append(out, "GRANT "+may+" ON "+full+" TO "+name)
	}
	return out, nil
}
