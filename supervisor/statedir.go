package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sluice/supervisor/fleet"
)

// makeStateDir makes the state directory, or sees that the one that is there
// can be written. It writes nothing where everything is there: a full disk is
// no reason not to start. Its error is one line for whoever mounted the folder.
func makeStateDir(dir fleet.Dir) error {
	err := os.MkdirAll(dir.Run(), 0o700)
	for _, path := range []string{string(dir), dir.Run()} {
		if err == nil {
			err = writable(path)
		}
	}
	if err != nil {
		return stateDirError(string(dir), err)
	}
	return nil
}

// writable tells whether this process may make files in a folder.
func writable(path string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

// stateDirError says which folder is in the way, whose it is, and what to do.
func stateDirError(dir string, err error) error {
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("state directory %s: the file system is read-only: mount a volume there, or choose another with --state_dir", dir)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("state directory %s: a file is in its place: choose another with --state_dir", dir)
	case !errors.Is(err, os.ErrPermission):
		return fmt.Errorf("state directory %s: %w", dir, err)
	}
	uid, gid := unix.Geteuid(), unix.Getegid()
	at := blocking(dir, err)
	var stat unix.Stat_t
	if statErr := unix.Stat(at, &stat); statErr != nil {
		return fmt.Errorf("state directory %s cannot be reached by user %d: %w: choose another with --state_dir", dir, uid, statErr)
	}
	whose := fmt.Sprintf("belongs to %d:%d, mode %04o", stat.Uid, stat.Gid, stat.Mode&0o7777)
	if len(at) < len(dir) { // a parent, which is not ours to give away
		return fmt.Errorf("state directory %s cannot be made by user %d, because %s %s: make it and chown %d:%d it, or choose another with --state_dir",
			dir, uid, at, whose, uid, gid)
	}
	recursive := ""
	if at != dir {
		recursive = "-R "
	}
	return fmt.Errorf("state directory %s cannot be written by user %d, because %s %s: chown %s%d:%d the folder or volume that is there, or choose another with --state_dir",
		dir, uid, at, whose, recursive, uid, gid)
}

// blocking is the folder that refused: the one that the error names, or the
// nearest above it that there is.
func blocking(dir string, err error) string {
	at := dir
	var path *os.PathError
	if errors.As(err, &path) {
		at = path.Path
		if path.Op == "mkdir" {
			at = filepath.Dir(at)
		}
	}
	for at != "/" && at != "." {
		if _, err := os.Stat(at); err == nil {
			break
		}
		at = filepath.Dir(at)
	}
	return at
}
