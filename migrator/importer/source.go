package importer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice/internal/postgres"
	"sluice/migrator/litellm"
)

// source is one snapshot of LiteLLM's database: everything is read in a single
// transaction that can neither write nor see what is written meanwhile.
type source struct {
	conn   *pgx.Conn
	tx     pgx.Tx
	schema string
	name   string // database and schema, without the password
	have   litellm.Columns
	rows   map[string]int64 // what each table holds, about
}

// sourceLock is how long a table of the source may be locked by somebody else,
// for example by a migration, before that is said.
const sourceLock = 10 * time.Second

// openSource connects, begins the snapshot and looks at what is there. Prisma's
// parameter "schema" of the URL says where LiteLLM's tables are. A pooler may
// stand in between, whose server connections have statements of others.
func openSource(ctx context.Context, from *postgres.Source) (*source, error) {
	conn, err := postgres.Open(ctx, from, postgres.Options{Application: "sluice-migrator import", NoStatements: true})
	if err != nil {
		return nil, classify("the source", err)
	}
	s := &source{conn: conn, schema: from.Schema, name: from.String() + ", schema " + strconv.Quote(from.Schema), have: litellm.Columns{}, rows: map[string]int64{}}
	if err := s.begin(ctx); err != nil {
		s.close(ctx)
		return nil, classify("the source", err)
	}
	return s, nil
}

func (s *source) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if s.tx != nil {
		_ = s.tx.Rollback(ctx)
	}
	_ = s.conn.Close(ctx)
}

// begin starts the snapshot. Its settings are those of the transaction, which
// also a pooler keeps: names of LiteLLM's schema first, no limit on the length
// of the transaction, UTC for times with a zone, and no compiler: its two seconds
// for a page of teams are worth a tenth of one.
func (s *source) begin(ctx context.Context) error {
	var err error
	if s.tx, err = s.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		return fmt.Errorf("begin the snapshot: %w", err)
	}
	_, err = s.tx.Exec(ctx, `SELECT set_config('search_path', quote_ident($1::text) || ', pg_catalog', true), set_config('TimeZone', 'UTC', true),
		set_config('extra_float_digits', '1', true), set_config('statement_timeout', '0', true),
		set_config('idle_in_transaction_session_timeout', '0', true), set_config('lock_timeout', $2::text, true),
		CASE WHEN current_setting('jit', true) IS NULL THEN '' ELSE set_config('jit', 'off', true) END,
		CASE WHEN current_setting('transaction_timeout', true) IS NULL THEN '' ELSE set_config('transaction_timeout', '0', true) END`,
		s.schema, strconv.FormatInt(sourceLock.Milliseconds(), 10))
	if err != nil {
		return fmt.Errorf("set up the snapshot: %w", err)
	}
	return s.look(ctx)
}

// look reads which tables and columns are there, and about how many rows.
func (s *source) look(ctx context.Context) error {
	rows, err := s.tx.Query(ctx, `SELECT c.table_name::text, c.column_name::text FROM information_schema.columns c
		JOIN information_schema.tables t USING (table_schema, table_name)
		WHERE c.table_schema = $1 AND t.table_type = 'BASE TABLE' AND (c.table_name LIKE 'LiteLLM\_%' OR c.table_name = '_prisma_migrations')`, s.schema)
	if err != nil {
		return fmt.Errorf("read information_schema: %w", err)
	}
	var table, column string
	_, err = pgx.ForEachRow(rows, []any{&table, &column}, func() error {
		if s.have[table] == nil {
			s.have[table] = map[string]bool{}
		}
		s.have[table][column] = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("read information_schema: %w", err)
	}
	rows, err = s.tx.Query(ctx, `SELECT c.relname::text, greatest(c.reltuples, -1)::bigint, has_table_privilege(c.oid, 'SELECT')
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND (c.relname LIKE 'LiteLLM\_%' OR c.relname = '_prisma_migrations')
		ORDER BY 1`, s.schema)
	if err != nil {
		return fmt.Errorf("read the list of tables: %w", err)
	}
	var about int64
	var may bool
	var forbidden []string
	_, err = pgx.ForEachRow(rows, []any{&table, &about, &may}, func() error {
		s.rows[table] = about
		if !may {
			forbidden = append(forbidden, strconv.Quote(table))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the list of tables: %w", err)
	}
	if len(forbidden) > 0 {
		return refuse("%s: its role may not read %d of LiteLLM's tables, the first is %s: GRANT SELECT ON ALL TABLES IN SCHEMA %q, or name another role",
			s.name, len(forbidden), forbidden[0], s.schema)
	}
	return nil
}

// needed are the tables without which a database is not LiteLLM's.
var needed = []string{"LiteLLM_VerificationToken", "LiteLLM_UserTable", "LiteLLM_TeamTable"}

// isLiteLLM reports whether LiteLLM keeps its keys here.
func (s *source) isLiteLLM() bool {
	return !slices.ContainsFunc(needed, func(table string) bool { return s.have[table] == nil })
}

// check refuses what cannot be imported.
func (s *source) check(ctx context.Context, tables []litellm.Table) error {
	for _, name := range needed {
		if s.have[name] == nil {
			return refuse("%s is not LiteLLM's database: it has no table %q: correct --from (its parameter schema=NAME says in which schema LiteLLM's tables are)",
				s.name, name)
		}
	}
	for i := range tables {
		t := &tables[i]
		if column := s.lacks(t); column != "" && slices.Contains(needed, t.Name) {
			return refuse("%s is of a release of LiteLLM that is too old: %q has no column %q: let a newer LiteLLM migrate it first", s.name, t.Name, column)
		}
	}
	return s.migrated(ctx)
}

// lacks is the first column of those that a table needs and that is not there.
func (s *source) lacks(t *litellm.Table) string {
	for _, column := range t.Needs {
		if !s.have.Has(t.Reads(), column) {
			return column
		}
	}
	return ""
}

// history is where Prisma keeps which of LiteLLM's migrations were applied.
const history = "_prisma_migrations"

// migrated refuses a database in the middle of a migration of LiteLLM's.
func (s *source) migrated(ctx context.Context) error {
	columns := s.have[history]
	if !columns["migration_name"] || !columns["finished_at"] || !columns["rolled_back_at"] {
		return nil // made by `prisma db push`, which keeps no history
	}
	var name string
	var count int
	err := s.tx.QueryRow(ctx, `SELECT count(*), coalesce(min(migration_name), '') FROM "_prisma_migrations"
		WHERE finished_at IS NULL AND rolled_back_at IS NULL`).Scan(&count, &name)
	if err != nil {
		return fmt.Errorf("read LiteLLM's history of migrations: %w", err)
	}
	if count > 0 {
		return refuse("%s is half-migrated: LiteLLM's migration %q began and has not ended (%d such rows in _prisma_migrations): start LiteLLM once so that it finishes it, or resolve it with `prisma migrate resolve`",
			s.name, name, count)
	}
	return nil
}

// countUpTo is how far a table is counted: a scan of so many rows is not noticed,
// and a small table's estimate may be far off, or was never made.
const countUpTo = 200_000

// about is how many rows a table holds; exact where counting costs little.
func (s *source) about(ctx context.Context, table string) (int64, error) {
	n := s.rows[table]
	if n > countUpTo {
		return n, nil
	}
	err := s.tx.QueryRow(ctx, "SELECT count(*) FROM (SELECT 1 FROM "+pgx.Identifier{table}.Sanitize()+" LIMIT $1) t", countUpTo).Scan(&n)
	if err != nil {
		return 0, classify("count "+table, err)
	}
	s.rows[table] = n
	return n, nil
}

// row is one document of a table, and its primary key as texts.
type row struct {
	key []string
	doc []byte
}

// Sizes of what is read at once.
const (
	pageRows  = 1000
	chunkSize = 512 << 10 // bytes of documents that are handed over together
)

// page reads the rows after a key, in the order of the primary key, at most
// pageRows of them, and hands them over in chunks of bounded size. It returns
// how many there were. The order is the primary key's own, so that its index
// serves each page: what matters is only that it is the same for all pages.
func (s *source) page(ctx context.Context, t litellm.Table, where string, after []string, hand func([]row) error) (int, error) {
	args := make([]any, len(after))
	for i, a := range after {
		args[i] = a
	}
	rows, err := s.tx.Query(ctx, s.statement(t, where, len(after) > 0), args...)
	if err != nil {
		return 0, classify("read "+t.Name, err)
	}
	defer rows.Close()
	var chunk []row
	count, size := 0, 0
	for rows.Next() {
		raw := rows.RawValues()
		r := row{key: make([]string, len(t.Key)), doc: slices.Clone(raw[len(t.Key)])}
		for i := range t.Key {
			r.key[i] = string(raw[i])
		}
		chunk = append(chunk, r)
		count++
		if size += len(r.doc); size >= chunkSize {
			if err := hand(chunk); err != nil {
				return count, err
			}
			chunk, size = nil, 0
		}
	}
	if err := rows.Err(); err != nil {
		return count, classify("read "+t.Name, err)
	}
	if len(chunk) > 0 {
		return count, hand(chunk)
	}
	return count, nil
}

// statement reads one page: the key's columns as texts, then the document.
func (s *source) statement(t litellm.Table, where string, after bool) string {
	var texts, names, marks []string
	for i, k := range t.Key {
		name := "t." + pgx.Identifier{k}.Sanitize()
		texts = append(texts, name+"::text")
		names = append(names, name)
		marks = append(marks, "$"+strconv.Itoa(i+1))
	}
	var conditions []string
	if after {
		conditions = append(conditions, "("+strings.Join(names, ", ")+") > ("+strings.Join(marks, ", ")+")")
	}
	if where != "" {
		conditions = append(conditions, where)
	}
	text := "SELECT " + strings.Join(texts, ", ") + ", " + strings.TrimPrefix(strings.TrimSpace(t.From(s.have)), "SELECT ")
	if len(conditions) > 0 {
		text += " WHERE " + strings.Join(conditions, " AND ")
	}
	return text + " ORDER BY " + strings.Join(names, ", ") + " LIMIT " + strconv.Itoa(pageRows)
}
