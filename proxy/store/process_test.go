package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/migrator/migrate"
	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// childEnv makes the test binary a process that writes into the file it names.
const childEnv = "SLUICE_TEST_STORE"

func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		os.Exit(child(arg))
	}
	os.Exit(m.Run())
}

// child creates teams and says so after each commit, until it is ended or has
// done its share.
func child(arg string) int {
	name, path, _ := strings.Cut(arg, ":")
	s, err := store.Open(store.Config{SQLite: path})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer s.Close()
	for i := range 200 {
		id := name + "-" + strconv.Itoa(i)
		err := s.Change(context.Background(), store.Actor{}, func(tx *store.Tx) error { return tx.Insert(&identity.Team{ID: id}) })
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Fprintln(os.Stdout, id)
	}
	return 0
}

func newFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "with space & ?#%.db")
	if _, err := migrate.Up(t.Context(), migrate.Target{SQLite: path}, migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	return path
}

func openFile(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{SQLite: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// TestProcesses has three processes write into one SQLite file. One of them is
// killed while it writes: what it said is there, and the others go on.
func TestProcesses(t *testing.T) {
	path := newFile(t)
	var said [3][]string
	ended := make(chan error, 3)
	for i := range said {
		c := exec.Command(os.Args[0], "-test.run=^$")
		c.Env = append(os.Environ(), childEnv+"="+strconv.Itoa(i)+":"+path)
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		go func() {
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				said[i] = append(said[i], lines.Text())
				if i == 0 && len(said[i]) == 50 {
					_ = c.Process.Signal(syscall.SIGKILL)
				}
			}
			err := c.Wait()
			if i == 0 {
				err = nil
			}
			ended <- err
		}()
	}
	for range said {
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("it takes too long")
		}
	}
	s := openFile(t, path)
	n := consistent(t, s)
	if total := len(said[0]) + 400; n < total || n > total+1 || len(said[0]) > 199 {
		t.Errorf("%d teams; the killed one said %d", n, len(said[0]))
	}
	for _, ids := range said {
		for _, id := range ids {
			if _, err := store.Get[identity.Team](t.Context(), s, id); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestBusyFile waits for another process no longer than the caller wants to.
func TestBusyFile(t *testing.T) {
	path := newFile(t)
	other, s := openFile(t, path), openFile(t, path)
	insert(t, s, &identity.Team{ID: "before"}) // its connection is open
	holds, release, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		ended <- other.Change(context.Background(), store.Actor{}, func(tx *store.Tx) error {
			close(holds)
			<-release
			return tx.Insert(&identity.Team{ID: "slow"})
		})
	}()
	<-holds
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := s.Change(ctx, store.Actor{}, func(tx *store.Tx) error { return tx.Insert(&identity.Team{ID: "late"}) })
	if took := time.Since(start); !store.Away(err) || took > time.Second {
		t.Errorf("%v after %s", err, took)
	}
	if n, err := store.Count[identity.Team](t.Context(), s); err != nil || n != 1 {
		t.Errorf("reading meanwhile: %d %v", n, err)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	insert(t, s, &identity.Team{ID: "after"})
	if n := consistent(t, s); n != 3 {
		t.Errorf("%d teams", n)
	}
}
