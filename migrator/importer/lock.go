package importer

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"sluice/internal/postgres"
	"sluice/proxy/store"
)

// lockID is the advisory lock of imports: "import" as a number. It is not that
// of the migrations, which must not wait for an import.
const lockID = 0x696d706f7274

// errBusy means that another import was at work for as long as was waited.
var errBusy = errors.New("another import into this database is at work")

// lock lets one import into a database go on at a time: an advisory lock on
// PostgreSQL, a lock on a file beside the database on SQLite. Both end with the
// process, however it ends. A negative wait has no end.
func lock(ctx context.Context, target *postgres.Source, path string, wait time.Duration, log *slog.Logger) (release func(), err error) {
	try, release, err := locker(ctx, target, path)
	if err != nil {
		return nil, err
	}
	began, told := time.Now(), false
	for {
		locked, err := try()
		switch {
		case err != nil:
		case locked:
			return release, nil
		case wait >= 0 && time.Since(began) >= wait:
			err = tryAgain("%w: wait until it has ended, or end it", errBusy)
		case !told:
			told = true
			log.Info("another import into this database is at work, waiting")
		}
		if err == nil {
			err = store.Pause(ctx, 100*time.Millisecond+rand.N(200*time.Millisecond))
		}
		if err != nil {
			release()
			return nil, err
		}
	}
}

// locker opens what is locked. On PostgreSQL the lock belongs to a transaction
// that does nothing else: a pooler would take a session's lock away. Its
// snapshot ends with each statement, so it keeps nothing from being cleaned up.
// The server looks whether we still live: the lock of a host that lost its power
// is free within half a minute.
func locker(ctx context.Context, target *postgres.Source, path string) (try func() (bool, error), release func(), err error) {
	if target == nil {
		f, err := os.OpenFile(path+".import.lock", os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, nil, refuse("the lock file beside the database cannot be made: %w", err)
		}
		try := func() (bool, error) {
			err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
			if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
				return false, nil
			}
			return err == nil, err
		}
		return try, func() { _ = f.Close() }, nil
	}
	conn, err := postgres.Open(ctx, target, postgres.Options{Application: "sluice-migrator import lock", NoStatements: true})
	if err != nil {
		return nil, nil, classify("the database to import into", err)
	}
	release = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = conn.Exec(ctx, "ROLLBACK") // which is over when it returns, other than the session
		_ = conn.Close(ctx)
	}
	_, err = conn.Exec(ctx, "BEGIN READ WRITE")
	if err == nil {
		_, err = conn.Exec(ctx, `SELECT set_config('idle_in_transaction_session_timeout', '0', true),
			set_config('tcp_keepalives_idle', '10', true), set_config('tcp_keepalives_interval', '5', true), set_config('tcp_keepalives_count', '3', true),
			CASE WHEN current_setting('transaction_timeout', true) IS NULL THEN '' ELSE set_config('transaction_timeout', '0', true) END`)
	}
	if err != nil {
		release()
		return nil, nil, classify("the database to import into", err)
	}
	try = func() (locked bool, err error) {
		err = conn.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", int64(lockID)).Scan(&locked)
		return locked, classify("take the lock of imports", err)
	}
	return try, release, nil
}
