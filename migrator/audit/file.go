package audit

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"sluice/proxy/chain"
)

// format is what the first line of an archive says of itself.
const format = "sluice audit archive 1"

// longestLine is more than a row with two documents of 1 MiB can have.
const longestLine = 64 << 20

// head is the first line of an archive.
type head struct {
	Format   string `json:"format"`
	First    int64  `json:"first"`    // number of the first row
	Previous digest `json:"previous"` // mac of the row before it; "" where there is none
}

// foot is the last line.
type foot struct {
	Rows int64  `json:"rows"`
	Last int64  `json:"last"` // number of the last row
	MAC  digest `json:"mac"`  // of the last row
}

// footed starts the foot and no row.
var footed = []byte(`{"rows":`)

// partial is the name of an archive that is being written.
func partial(path string) string { return path + ".part" }

// errWriting: two archives under one name at the same time.
var errWriting = errors.New("another process is writing it")

// writer writes an archive beside its name, which it gets once it is whole:
// under its name there is a whole archive or none, and one that is there is
// never written over.
type writer struct {
	path string
	file *os.File
	out  *bufio.Writer
	foot foot
}

// create begins an archive. What a killed run has left is overwritten. The file
// can be read by its owner alone.
func create(path string, h head) (*writer, error) {
	f, err := os.OpenFile(partial(path), os.O_CREATE|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, wrong("write the archive: %s", err)
	}
	w := &writer{path: path, file: f, out: bufio.NewWriterSize(f, 1<<18)}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errWriting
		}
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	if err := errors.Join(w.mine(), f.Chmod(0o600)); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Truncate(0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	h.Format = format
	return w, w.write(h)
}

// mine makes sure that what was locked is still the file that is being written:
// between opening and locking another process may have published it.
func (w *writer) mine() error {
	locked, err := w.file.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(partial(w.path))
	if err != nil || !os.SameFile(locked, named) {
		return errWriting
	}
	if st, ok := locked.Sys().(*syscall.Stat_t); ok && st.Nlink != 1 {
		return fmt.Errorf("%s is a link: remove it", partial(w.path))
	}
	return nil
}

func (w *writer) write(v any) error {
	text, err := encoded(v)
	if err != nil {
		return err
	}
	if _, err := w.out.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", w.path, err)
	}
	return nil
}

// add writes one row.
func (w *writer) add(r *chain.Row) error {
	w.foot.Rows++
	w.foot.Last, w.foot.MAC = r.Number, r.MAC
	return w.write(lineOf(r))
}

// finish writes the foot and waits until all of it is on the disk. The archive
// does not have its name yet, and stays locked until publish or abandon.
func (w *writer) finish() error {
	if err := w.write(w.foot); err != nil {
		return err
	}
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", w.path, err)
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", w.path, err)
	}
	return nil
}

// publish gives the archive its name, unless another file has it.
func (w *writer) publish() error {
	defer w.file.Close()
	if err := os.Link(partial(w.path), w.path); err != nil {
		return fmt.Errorf("name the archive: %w", err)
	}
	if err := os.Remove(partial(w.path)); err != nil {
		return fmt.Errorf("name the archive: %w", err)
	}
	dir, err := os.Open(filepath.Dir(w.path))
	if err != nil {
		return fmt.Errorf("write the folder of %s: %w", w.path, err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("write the folder of %s: %w", w.path, err)
	}
	return nil
}

// abandon removes what was written.
func (w *writer) abandon() {
	_ = os.Remove(partial(w.path))
	_ = w.file.Close()
}

// damage is a place of an archive that is not as it was written.
type damage struct {
	path string
	line int64
	what string
	cut  bool // the end is missing
}

func (d *damage) Error() string {
	return fmt.Sprintf("%s, line %d: %s", d.path, d.line, d.what)
}

// archive reads an archive from its beginning to its end.
type archive struct {
	path string
	file io.Closer
	in   *bufio.Reader
	sum  hash.Hash
	at   int64 // number of the line that was read last
	held []byte

	head head
	foot foot // once next has returned io.EOF
	rows int64
	last chain.Row

	joined bool // its rows were verified in their place of the record
}

// errNoArchive: a file of another sort.
var errNoArchive = errors.New("it is no archive of the record of changes")

// open reads the head of an archive.
func open(path string) (*archive, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open an archive: %w", err)
	}
	a := &archive{path: path, file: f, in: bufio.NewReaderSize(f, 1<<18), sum: sha256.New()}
	if err := a.begin(); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// begin reads the first line.
func (a *archive) begin() error {
	text, err := a.readLine()
	if err == nil && (exactly(text, &a.head) != nil || a.head.Format != format || a.head.First < 1) {
		err = a.damaged("it is no head")
	}
	var d *damage
	if errors.As(err, &d) {
		return fmt.Errorf("%s: %w", a.path, errNoArchive)
	}
	return err
}

func (a *archive) close() { _ = a.file.Close() }

// next reads the next row. io.EOF is the end of a whole archive; *damage is
// what is wrong with it otherwise, and nothing can be read behind that.
func (a *archive) next() (*chain.Row, error) {
	text, err := a.readLine()
	if err != nil {
		return nil, err
	}
	if len(text) > len(footed) && string(text[:len(footed)]) == string(footed) {
		return nil, a.end(text)
	}
	var l line
	if err := exactly(text, &l); err != nil {
		return nil, a.damaged("it was changed: " + err.Error())
	}
	if a.last, err = l.row(); err != nil {
		return nil, a.damaged("it was changed: " + err.Error())
	}
	a.rows++
	return &a.last, nil
}

// end checks the foot, and that nothing follows it.
func (a *archive) end(text []byte) error {
	if err := exactly(text, &a.foot); err != nil {
		return a.damaged("it was changed: " + err.Error())
	}
	if a.foot.Rows != a.rows || a.foot.Last != a.last.Number || string(a.foot.MAC) != string(a.last.MAC) {
		return a.damaged(fmt.Sprintf("the last line tells of %d rows up to number %d, there are %d up to %d", a.foot.Rows, a.foot.Last, a.rows, a.last.Number))
	}
	if _, err := a.in.ReadByte(); err == nil {
		a.at++
		return a.damaged("there is something behind the end of the archive")
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", a.path, err)
	}
	return io.EOF
}

// digest is the SHA-256 of the whole file, once next has returned io.EOF.
func (a *archive) digest() []byte { return a.sum.Sum(nil) }

func (a *archive) damaged(what string) error { return &damage{path: a.path, line: a.at, what: what} }

// readLine reads one line without its end. What it returns is good until the
// next call.
func (a *archive) readLine() ([]byte, error) {
	a.held, a.at = a.held[:0], a.at+1
	for {
		part, err := a.in.ReadSlice('\n')
		_, _ = a.sum.Write(part)
		a.held = append(a.held, part...)
		switch {
		case err == nil:
			return a.held[:len(a.held)-1], nil
		case errors.Is(err, io.EOF):
			return nil, &damage{path: a.path, line: a.at, what: "the archive ends here, before its last line", cut: true}
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("read %s: %w", a.path, err)
		case len(a.held) > longestLine:
			return nil, a.damaged("it is longer than any row")
		}
	}
}

// exists reports whether there is something under the name of an archive.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", path, err)
	}
	return true, nil
}
