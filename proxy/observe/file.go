package observe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"

	"sluice/migrator/schema"
	"sluice/supervisor/fleet"
)

// file is a SQLite database. Its version is read from the header, as
// https://www.sqlite.org/fileformat.html, 1.3, has it, so that a worker that
// needs no SQL links no SQLite.
type file string

var magic = []byte("SQLite format 3\x00")

// look reads the first 100 bytes. An absent or empty file is one that nobody
// has migrated yet.
func (f file) look(context.Context) (uint32, fleet.Dependency) {
	fd, err := descriptor(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fleet.DependencyConnected
	}
	if err != nil {
		return 0, fleet.DependencyDown
	}
	var head [100]byte
	n, err := unix.Pread(fd, head[:], 0)
	if n == 0 && err == nil {
		return 0, fleet.DependencyConnected
	}
	if n < len(head) || !bytes.HasPrefix(head[:], magic) {
		return 0, fleet.DependencyDown
	}
	return binary.BigEndian.Uint32(head[60:]), fleet.DependencyConnected
}

func (f file) close() {}

// descriptors are those of the databases that were looked at, by path. They are
// never closed: a process that closes any descriptor of a file loses all locks that it
// has on it, those of SQLite too (https://www.sqlite.org/howtocorrupt.html, 2.2).
// The next process that is done with the database would take itself for the last
// one and remove the log, with what this one commits from then on.
var descriptors = struct {
	sync.Mutex
	of map[string]int
}{of: map[string]int{}}

// descriptor is one of the file that stands at a path now.
func descriptor(path string) (int, error) {
	descriptors.Lock()
	defer descriptors.Unlock()
	var is, was unix.Stat_t
	if err := unix.Stat(path, &is); err != nil {
		return -1, err
	}
	if fd, ok := descriptors.of[path]; ok && unix.Fstat(fd, &was) == nil && was.Dev == is.Dev && was.Ino == is.Ino {
		return fd, nil
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		descriptors.of[path] = fd
	}
	return fd, err
}

// Migrated reports whether a SQLite file has a schema that this release's
// programs can work with.
func Migrated(path string) bool {
	version, _ := file(path).look(context.Background())
	return version >= schema.Minimum
}
