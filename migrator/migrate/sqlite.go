package migrate

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"sluice/migrator/schema"
)

// versionOffset is where a SQLite file keeps user_version, big endian
// (https://www.sqlite.org/fileformat.html, 1.3).
const versionOffset = 60

func sqliteFiles() (fs.FS, []file, error) {
	dir, err := fs.Sub(schema.SQLite, "sqlite")
	if err != nil {
		return nil, nil, err
	}
	files, err := list(dir)
	return dir, files, err
}

// dsn opens a file as every program of ours does. busy_timeout comes before
// the change to WAL, which needs the file for itself for a moment.
func dsn(path string, readOnly bool) string {
	u := url.URL{Scheme: "file", OmitHost: true, Path: path}
	if readOnly {
		u.RawQuery = "mode=ro&_pragma=busy_timeout(5000)"
	} else {
		u.RawQuery = "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)&_txlock=immediate"
	}
	return u.String()
}

// fileVersion reads user_version from the header; 0 for a file that is absent
// or empty.
func fileVersion(path string) (int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("open database: %w", err)
	}
	defer func() { _ = f.Close() }()
	var b [4]byte
	if _, err := f.ReadAt(b[:], versionOffset); errors.Is(err, io.EOF) {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("read header of %s: %w", path, err)
	}
	return int64(binary.BigEndian.Uint32(b[:])), nil
}

func lookSQLite(ctx context.Context, path string) (State, error) {
	_, files, err := sqliteFiles()
	if err != nil {
		return State{}, err
	}
	if st, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() == 0 {
		return merge(files, nil, nil), nil
	}
	db, err := sql.Open("sqlite", dsn(path, true))
	if err != nil {
		return State{}, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { _ = db.Close() }()
	return readSQLite(ctx, db, files)
}

func readSQLite(ctx context.Context, db *sql.DB, files []file) (State, error) {
	var exists int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN (?, 'meta')",
		schema.VersionTable).Scan(&exists); err != nil {
		return State{}, fmt.Errorf("read the list of tables: %w", err)
	}
	if exists < 2 {
		return merge(files, nil, nil), nil
	}
	var applied []Step
	err := each(ctx, db, "SELECT version_id, CAST(strftime('%s', max(tstamp)) AS INTEGER) FROM "+schema.VersionTable+
		" WHERE is_applied AND version_id > 0 GROUP BY version_id ORDER BY version_id", func(rows *sql.Rows) error {
		var version, at int64
		err := rows.Scan(&version, &at)
		applied = append(applied, Step{Version: version, Applied: time.Unix(at, 0).UTC()})
		return err
	})
	if err != nil {
		return State{}, fmt.Errorf("read applied migrations: %w", err)
	}
	recorded := map[string]string{}
	err = each(ctx, db, "SELECT name, value FROM meta WHERE name LIKE 'migration\\_%' ESCAPE '\\'", func(rows *sql.Rows) error {
		var name, value string
		err := rows.Scan(&name, &value)
		recorded[name] = value
		return err
	})
	if err != nil {
		return State{}, fmt.Errorf("read digests of migrations: %w", err)
	}
	return merge(files, applied, recorded), compare(files, recorded)
}

func each(ctx context.Context, db *sql.DB, query string, row func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func upSQLite(ctx context.Context, path string, o Options) (State, error) {
	dir, files, err := sqliteFiles()
	if err != nil {
		return State{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return State{}, fmt.Errorf("make the state directory: %w", err)
	}
	unlock, err := lockFile(ctx, path+".lock", o)
	if err != nil {
		return State{}, err
	}
	defer unlock()
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return State{}, fmt.Errorf("make the database: %w", err)
	} else if err := f.Close(); err != nil {
		return State{}, fmt.Errorf("make the database: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(path, false))
	if err != nil {
		return State{}, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	state, err := readSQLite(ctx, db, files)
	if err != nil {
		return state, err
	}
	if state.Pending() > 0 || state.unrecorded {
		if err := applySQLite(ctx, db, dir, files, o); err != nil {
			return state, err
		}
	}
	if err := checkpoint(ctx, db, path, o); err != nil {
		return state, err
	}
	return readSQLite(ctx, db, files)
}

func applySQLite(ctx context.Context, db *sql.DB, dir fs.FS, files []file, o Options) error {
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, dir,
		goose.WithTableName(schema.VersionTable), goose.WithDisableGlobalRegistry(true), goose.WithAllowOutofOrder(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if err := apply(ctx, provider, o); err != nil {
		return err
	}
	for _, f := range files {
		if _, err := db.ExecContext(ctx, `INSERT INTO meta (name, value, updated_at)
			VALUES (?, ?, unixepoch() * 1000000) ON CONFLICT (name) DO NOTHING`, f.key(), f.sum); err != nil {
			return fmt.Errorf("record digest of %s: %w", f.name, err)
		}
	}
	return nil
}

// checkpoint moves the log into the file, so that the header tells the version
// to programs that link no SQLite.
func checkpoint(ctx context.Context, db *sql.DB, path string, o Options) error {
	var busy, log, moved int
	if err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	version, err := fileVersion(path)
	if err != nil {
		return err
	}
	if version < schema.Version {
		o.Log.Warn("readers keep the log from being moved into the database file; the version shows later",
			slog.Int64("version", version))
	}
	return nil
}

// lockFile takes an exclusive flock on a file beside the database. The kernel
// gives it back when the process ends; the file stays.
func lockFile(ctx context.Context, path string, o Options) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	start, told := time.Now(), false
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = f.Close() }, nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		case time.Since(start) > o.Wait:
			_ = f.Close()
			return nil, fmt.Errorf("%w, waited %s", errBusy, time.Since(start).Round(time.Second))
		case !told:
			told = true
			o.Log.Info("another migrator is at work, waiting")
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
}

// classifySQLite knows what SQLite's result codes mean to an operator.
func classifySQLite(t Target, err error) error {
	p := &problem{class: Failed, err: fmt.Errorf("%s: %w", t, err)}
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			p.class, p.advice = TryAgain, "another process writes to it: try again"
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR:
			p.class, p.advice = TryAgain, "make room on the disk of the state directory, and check it"
		case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
			p.class, p.advice = Config, "restore it from a backup, or name another state directory"
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
			p.class, p.advice = Config, "the state directory must be writable by this user"
		}
		return p
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		if errors.Is(err, syscall.ENOSPC) {
			p.class, p.advice = TryAgain, "make room on the disk of the state directory"
		} else {
			p.class, p.advice = Config, "the state directory must be writable by this user"
		}
	}
	return p
}
