package journal

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// hold makes it known that a process writes the segment, for as long as the file
// is open or mapped: the kernel ends it with the process, whatever kills that.
// On a file system without locks nobody is known to write.
func hold(f *os.File) {
	for errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH), unix.EINTR) {
	}
}

// Written says whether a process on this machine still has the segment open to
// write it. Where nobody can tell, one may have: this process may have too many
// files open.
func (s *Segment) Written() bool {
	f, err := os.Open(s.Path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer f.Close()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return errors.Is(err, unix.EWOULDBLOCK)
		}
	}
}
