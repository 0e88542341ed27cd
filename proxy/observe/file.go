package observe

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"

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
	r, err := os.Open(string(f))
	if os.IsNotExist(err) {
		return 0, fleet.DependencyConnected
	}
	if err != nil {
		return 0, fleet.DependencyDown
	}
	defer func() { _ = r.Close() }()
	var head [100]byte
	if n, err := r.ReadAt(head[:], 0); n == 0 {
		return 0, fleet.DependencyConnected
	} else if err != nil || !bytes.HasPrefix(head[:], magic) {
		return 0, fleet.DependencyDown
	}
	return binary.BigEndian.Uint32(head[60:]), fleet.DependencyConnected
}

func (f file) close() {}

// Migrated reports whether a SQLite file has a schema that this release's
// programs can work with.
func Migrated(path string) bool {
	version, _ := file(path).look(context.Background())
	return version >= schema.Minimum
}
