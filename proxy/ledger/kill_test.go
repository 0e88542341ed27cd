package ledger_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/migrator/migrate"
	"sluice/proxy/journal"
	"sluice/proxy/ledger"
	"sluice/proxy/store"
)

// childEnv makes the test binary a process that ships: directory and database.
const childEnv = "SLUICE_TEST_LEDGER"

func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		os.Exit(child(arg))
	}
	os.Exit(m.Run())
}

// child ships until it is killed.
func child(arg string) int {
	dir, database, _ := strings.Cut(arg, "|")
	c := store.Config{SQLite: database}
	if strings.HasPrefix(database, "postgres") {
		source, err := postgres.ParseURL(database)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		c = store.Config{Postgres: source}
	}
	s, err := store.Open(c)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer s.Close()
	l := ledger.New(ledger.Config{Dirs: []string{dir}, HostID: hostID, Holder: holder, Database: s, Batch: time.Millisecond, Most: 50, Tick: tick})
	l.Run(context.Background())
	return 0
}

// TestKilled kills the process that ships again and again, at any point, while
// attempts are written: some of them stay open for long, so that their journals
// are read again from far back.
func TestKilled(t *testing.T) {
	both(t, func(t *testing.T, d *data) {
		dir, tr := dirOf(t), newTruth()
		loads := []*load{newLoad(t, dir, 1, tr), newLoad(t, dir, 2, tr)}
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(3 * time.Millisecond):
					for _, w := range loads {
						w.attempts(5)
					}
				}
			}
		}()
		database := d.url + d.file
		const kills = 15
		for range kills {
			c := exec.Command(os.Args[0], "-test.run=^$")
			c.Env = append(os.Environ(), childEnv+"="+dir+"|"+database)
			c.Stderr = os.Stderr
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			before := d.count(t)
			time.Sleep(time.Duration(rand.Int64N(int64(60 * time.Millisecond))))
			for end := time.Now().Add(10 * time.Second); d.count(t) == before && time.Now().Before(end); { // until it does something
				time.Sleep(time.Duration(rand.Int64N(int64(10 * time.Millisecond))))
			}
			_ = c.Process.Signal(syscall.SIGKILL)
			_ = c.Wait()
		}
		close(stop)
		<-done
		for _, w := range loads {
			w.close()
		}
		flush(t, newLedger(d, dir))
		mustMatch(t, d, tr)
	})
}

func (d *data) count(t *testing.T) string {
	return d.texts(t, "SELECT CAST(count(*) AS TEXT) FROM sluice.spend")[0][0]
}

func migrated(t *testing.T, url string) string {
	t.Helper()
	source, err := postgres.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migrate.Up(t.Context(), migrate.Target{Postgres: source}, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	return url
}

// TestServerKilled kills PostgreSQL while rows are shipped.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	server := pgtest.New(t)
	d := onPostgres(t, migrated(t, server.Database(t)))
	dir, tr := dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	stop := running(t, newLedger(d, dir))
	for range 3 {
		for range 20 {
			w.attempts(10)
			time.Sleep(5 * time.Millisecond)
		}
		server.Kill(t)
		w.attempts(100)
		server.Start(t)
		server.Ready(t, 30*time.Second)
	}
	w.close()
	stop()
	flush(t, newLedger(d, dir))
	mustMatch(t, d, tr)
}

// TestFailover promotes a standby that lacks commits: what was lost is shipped
// again, from the segments that are kept.
func TestFailover(t *testing.T) {
	t.Parallel()
	primary := pgtest.New(t)
	url := migrated(t, primary.Database(t))
	d := onPostgres(t, url)
	dir, tr := dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	w.attempts(100)
	standby := primary.Standby(t)
	primary.CaughtUp(t, 10*time.Second)

	l := newLedger(d, dir)
	stop := running(t, l)
	await(t, func() bool { return d.count(t) == "90" })
	primary.CaughtUp(t, 10*time.Second)
	standby.Stop(t) // what comes now, it never hears of
	w.attempts(100)
	await(t, func() bool { return d.count(t) == "180" })
	stop()
	primary.Kill(t)
	standby.Start(t)
	standby.Promote(t)

	after := (&data{url: strings.Replace(url, fmt.Sprintf(":%d/", primary.Port), fmt.Sprintf(":%d/", standby.Port), 1)}).reopen(t)
	if n := after.count(t); n != "90" {
		t.Fatalf("the standby has %s rows", n)
	}
	w.attempts(50)
	w.close()
	flush(t, newLedger(after, dir))
	mustMatch(t, after, tr)
}

// TestLostCommits goes back behind the ledger's back, as a pooler's server does
// after a failover: nobody tells it.
func TestLostCommits(t *testing.T) {
	both(t, func(t *testing.T, d *data) {
		dir, tr := dirOf(t), newTruth()
		w := newLoad(t, dir, 1, tr)
		w.attempts(50)
		stop := running(t, newLedger(d, dir))
		await(t, func() bool { return d.count(t) == "45" })
		for _, statement := range []string{
			"DELETE FROM sluice.spend", "DELETE FROM sluice.daily_spend", "UPDATE sluice.keys SET spend = 0", "UPDATE sluice.users SET spend = 0",
			"UPDATE sluice.teams SET spend = 0", "DELETE FROM sluice.journal_cursors", "UPDATE sluice.end_users SET spend = 0",
		} {
			d.exec(t, statement)
		}
		w.attempts(50)
		w.close()
		stop()
		flush(t, newLedger(d, dir))
		mustMatch(t, d, tr)
	})
}

// TestShortLivedShipper trims what a dead process had preallocated in its first
// turn: where workers die every second, nobody ships for longer, and each leaves
// 8 MiB.
func TestShortLivedShipper(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	w.settled(10)
	dead := killed(t, dir)
	w.close()
	began, c := time.Now(), config(d, dead)
	c.Now = func() time.Time { return began.Add(min(time.Since(began), 5*time.Second)) }
	running(t, ledger.New(c))
	await(t, func() bool {
		segments, err := journal.Scan(dead)
		return err == nil && len(segments) == 1 && segments[0].Finished && segments[0].Size == segments[0].Committed
	})
	if n := d.count(t); n != "10" {
		t.Errorf("%s rows, want 10", n)
	}
}

// sizes notes how many rows each batch has.
type sizes struct {
	ledger.Database
	mu  sync.Mutex
	got []int // guarded by mu
}

func (s *sizes) Ship(ctx context.Context, b *store.Batch) (store.Shipped, error) {
	s.mu.Lock()
	s.got = append(s.got, len(b.Rows))
	s.mu.Unlock()
	return s.Database.Ship(ctx, b)
}

// TestFirstBatch sends a little of a long backlog before it reads on: who is
// killed soon would have read it in vain, and so would the next one.
func TestFirstBatch(t *testing.T) {
	t.Parallel()
	d, dir, tr := open(t, &data{file: dbtest.SQLite(t)}), dirOf(t), newTruth()
	w := newLoad(t, dir, 1, tr)
	w.settled(1200)
	s := &sizes{Database: d}
	running(t, ledger.New(config(s, dir)))
	await(t, func() bool { return d.count(t) == "1200" })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.got[0] != 500 || len(s.got) > 3 {
		t.Errorf("batches of %v rows, want 500 and the rest", s.got)
	}
	w.close()
	mustMatch(t, d, tr)
}
