package journal

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// windowSize is how much of a segment is mapped at once, beside its header: it
// bounds what a worker's resident memory grows by.
const windowSize = 1 << 20

// aheadSize is how much of the window is asked for at once. A page that is first
// touched by a store costs a trap and a cold walk through the file system, four
// times what one of many costs.
const aheadSize = 64 << 10

// pages is a segment that is being written. Only the writer's lock holder uses
// it, but for sync and finish.
type pages struct {
	ident
	file *os.File
	fd   int
	path string
	size int64
	end  int64 // offset behind the last record
	// records were written since the segment was made.
	records int64
	// broken says that the file failed: what was not synced before cannot be.
	broken bool
	// named says that the directory knows it after a power cut; of the flusher.
	named bool

	// mapped is false on a file system that cannot map files to be written to:
	// then every store is a pwrite(2), and every commit one more.
	mapped bool
	header []byte
	window []byte
	from   int64 // offset of window
	there  int64 // up to which offset its pages were asked for
}

// openPages takes a preallocated file of zeros as a segment that will stand at
// path. It is mapped where it can and may be.
func openPages(file, path string, id ident, mapped bool) (*pages, error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	p, err := newPages(f, path, id, mapped)
	if err != nil {
		_ = f.Close() // nothing of it is used
	}
	return p, err
}

func newPages(f *os.File, path string, id ident, mapped bool) (*pages, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p := &pages{ident: id, file: f, fd: int(f.Fd()), path: path, size: info.Size(), end: Start, mapped: mapped}
	hold(f)
	page := make([]byte, Start)
	id.put(page)
	if _, err := f.WriteAt(page, 0); err != nil {
		return nil, err
	}
	if !mapped {
		return p, nil
	}
	p.header, err = syscall.Mmap(p.fd, 0, Start, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		p.mapped, p.header = false, nil
	}
	return p, nil
}

// fits reports whether n padded bytes and the record that ends the segment have
// room.
func (p *pages) fits(n int) bool { return p.end+int64(n)+finishSize <= p.size }

// append puts a sealed record at the end and publishes it. An error leaves the
// segment as it was.
func (p *pages) append(rec []byte) error {
	n := int64(padded(len(rec)))
	if err := p.store(p.end, rec); err != nil {
		return err
	}
	if err := p.commit(p.end + n); err != nil {
		return err
	}
	p.end += n
	p.records++
	return nil
}

// store copies b into the file. Where the kernel cannot give the page (the disk
// fails, the file was cut short), the fault is an error.
func (p *pages) store(off int64, b []byte) (err error) {
	if !p.mapped {
		return p.write(off, b)
	}
	if off < p.from || off+int64(len(b)) > p.from+int64(len(p.window)) {
		if err := p.slide(off, len(b)); err != nil {
			return err
		}
	}
	if off+int64(len(b)) > p.there {
		p.ahead()
	}
	defer faulted(debug.SetPanicOnFault(true), &err)
	copy(p.window[off-p.from:], b)
	return nil
}

// commit tells readers where the records end.
func (p *pages) commit(off int64) (err error) {
	if !p.mapped {
		var b [8]byte
		le.PutUint64(b[:], checked(off))
		return p.write(wordCommitted, b[:])
	}
	defer faulted(debug.SetPanicOnFault(true), &err)
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&p.header[wordCommitted])), checked(off))
	return nil
}

// errFault is a page that could not be had.
var errFault = errors.New("the file system could not give a page of the segment")

// faulted makes an error of a page fault. It is deferred.
func faulted(before bool, err *error) {
	debug.SetPanicOnFault(before)
	r := recover()
	if r == nil {
		return
	}
	if _, ok := r.(interface{ Addr() uintptr }); !ok {
		panic(r)
	}
	*err = errFault
}

// write is pwrite(2), which the scheduler does not see: it copies into the page
// cache.
func (p *pages) write(off int64, b []byte) error {
	for len(b) > 0 {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_PWRITE64, uintptr(p.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))),
			uintptr(len(b)), uintptr(off), 0, 0)
		switch {
		case errno == syscall.EINTR:
		case errno != 0:
			return errno
		default:
			b, off = b[n:], off+int64(n)
		}
	}
	return nil
}

// slide moves the window so that n bytes at off are in it.
func (p *pages) slide(off int64, n int) error {
	page := int64(os.Getpagesize())
	from := off &^ (page - 1)
	size := min(max(windowSize, int64(n)+page), p.size-from)
	if size < off-from+int64(n) {
		return fmt.Errorf("BUG: %d bytes at %d of a segment of %d", n, off, p.size)
	}
	window, err := syscall.Mmap(p.fd, from, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map: %w", err)
	}
	if p.window != nil {
		_ = syscall.Munmap(p.window) // fails only for what is not mapped
	}
	p.window, p.from, p.there = window, from, from
	return nil
}

// ahead asks for the pages that are written next. Where the kernel cannot
// (before Linux 5.14) or the disk fails, the store that touches them does, or
// fails.
func (p *pages) ahead() {
	b := p.window[p.there-p.from:]
	b = b[:min(len(b), aheadSize)]
	p.there += int64(len(b))
	_, _, _ = syscall.RawSyscall(syscall.SYS_MADVISE, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MADV_POPULATE_WRITE)
}

// unmap gives all mappings back.
func (p *pages) unmap() {
	for _, b := range [][]byte{p.window, p.header} {
		if b != nil {
			_ = syscall.Munmap(b) // fails only for what is not mapped
		}
	}
	p.window, p.header = nil, nil
}

// sync brings what was written to the disk.
func (p *pages) sync() error { return unix.Fdatasync(p.fd) }

// finish lets go of the segment: trimmed to what is in it, and marked so. It is
// not used afterwards. The file of a segment without records goes.
func (p *pages) finish() error {
	p.unmap()
	var err error
	if p.records == 0 {
		err = os.Remove(p.path)
	} else {
		err = p.file.Truncate(p.end)
		if _, markErr := p.file.WriteAt([]byte{stateFinished}, wordState); err == nil {
			err = markErr
		}
	}
	if closeErr := p.file.Close(); err == nil {
		err = closeErr
	}
	return err
}

// preallocate gives the file size bytes of zeros that the disk has room for.
func preallocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EOPNOTSUPP) && !errors.Is(err, syscall.ENOSYS):
			return err
		}
		break
	}
	zeros := make([]byte, 64<<10)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
	}
	return nil
}
