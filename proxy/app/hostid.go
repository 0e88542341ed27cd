package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sluice/supervisor/fleet"
)

// hostID is the name of this host among those of one database, read from the
// state directory, or made there.
func hostID(dir fleet.Dir) (string, error) {
	path := dir.HostID()
	for range 2 {
		switch b, err := os.ReadFile(path); {
		case err == nil:
			id := strings.TrimSpace(string(b))
			if len(id) < 16 || len(id) > 64 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
				return "", fmt.Errorf("%s holds no id of a host: remove the file to have one made", path)
			}
			return id, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("read the id of this host: %w", err)
		}
		var b [16]byte
		if _, err := rand.Read(b[:]); err != nil {
			return "", err
		}
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562, version 4
		id := fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
		switch err := createOnce(path, id+"\n"); {
		case err == nil:
			return id, nil
		case !errors.Is(err, fs.ErrExist):
			return "", fmt.Errorf("store the id of this host: %w", err)
		}
	}
	return "", fmt.Errorf("%s appears and vanishes", path)
}

// createOnce writes a file of mode 0600 beside path and links it into place, so
// that a reader sees all of it or nothing, and one of several writers wins. The
// others get fs.ErrExist.
func createOnce(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	return err
}

// replaceFile puts a file of mode 0600 at path in one step.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
