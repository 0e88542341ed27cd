package migrate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// file is one embedded migration.
type file struct {
	version int64
	name    string
	sum     string // hex SHA-256 of its text
}

// key is the name under which the table meta holds the file's digest.
func (f file) key() string { return fmt.Sprintf("migration_%05d", f.version) }

// list reads the files of one dialect in order of their numbers.
func list(dir fs.FS) ([]file, error) {
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	var files []file
	for _, name := range names {
		digits, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migration %s: its name does not begin with a number", name)
		}
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", name, err)
		}
		sum := sha256.Sum256(text)
		files = append(files, file{version: version, name: name, sum: hex.EncodeToString(sum[:])})
	}
	return files, nil
}

// compare refuses a file whose digest is not the one that was applied.
func compare(files []file, recorded map[string]string) error {
	for _, f := range files {
		if sum, ok := recorded[f.key()]; ok && sum != f.sum {
			return &problem{
				class:  Config,
				err:    fmt.Errorf("migration %s is not the one that was applied to this database", f.name),
				advice: "install a release of the product; its migrations never change",
			}
		}
	}
	return nil
}

func base(name string) string { return path.Base(name) }
