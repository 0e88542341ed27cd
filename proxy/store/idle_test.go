package store_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/store"
)

// age makes a database look as if nobody had written to it for a second.
func age(t *testing.T, path string) {
	t.Helper()
	past := time.Now().Add(-time.Second)
	for _, name := range []string{path, path + "-wal"} {
		if err := os.Chtimes(name, past, past); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// TestHeadOfFile polls the head while another store writes to the file, at
// moments that its times tell and at moments that they do not.
func TestHeadOfFile(t *testing.T) {
	path := newFile(t)
	reader, writer := openFile(t, path), openFile(t, path)
	var last int64
	for i := range 60 {
		if i%10 == 0 {
			age(t, path) // so that the reader trusts the times
		}
		for range i % 4 {
			if n, err := reader.Head(t.Context()); err != nil || n != last {
				t.Fatalf("%d %v, want %d", n, err, last)
			}
		}
		insert(t, writer, &identity.Team{ID: strconv.Itoa(i)})
		last++
		if n, err := reader.Head(t.Context()); err != nil || n != last {
			t.Fatalf("after a write: %d %v, want %d", n, err, last)
		}
	}
	age(t, path)
	if _, err := reader.Head(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := store.CountQueries(reader)
	for range 100 {
		if n, err := reader.Head(t.Context()); err != nil || n != last {
			t.Fatalf("idle: %d %v", n, err)
		}
	}
	if *asked != 0 {
		t.Errorf("an idle database was asked %d times", *asked)
	}
	insert(t, writer, &identity.Team{ID: "last"})
	last++
	if n, err := reader.Head(t.Context()); err != nil || n != last || *asked != 1 {
		t.Errorf("written again: %d %v, asked %d times", n, err, *asked)
	}
	writer.Close()
	if n, err := reader.Head(t.Context()); err != nil || n != last {
		t.Errorf("closed: %d %v", n, err)
	}
}
