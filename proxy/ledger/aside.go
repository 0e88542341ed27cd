package ledger

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"sluice/proxy/bill"
	"sluice/proxy/journal"
)

// asideName is the file of rows that the database does not take, beside the
// segments: a line of JSON each.
const asideName = "refused.jsonl"

// asideRow is a line of it. Both halves of an attempt have a field At, which JSON
// would leave out of either.
type asideRow struct {
	*bill.Attempt
	BeganAt, EndedAt int64 // unix nanoseconds
}

// attemptID is what an attempt is told apart by, in the database too.
type attemptID struct {
	RequestID [16]byte
	Attempt   int64
}

// aside is the file as this process knows it: the same row comes again where a
// batch is sent again, also by the next process.
type aside struct {
	known map[attemptID]bool // nil: not read yet
}

// put writes a row down, unless it is there. It is on the disk when put returns:
// after that the journal need not keep it. It reports whether it was new.
func (a *aside) put(dir string, r *bill.Attempt) (bool, error) {
	f, err := os.OpenFile(filepath.Join(dir, asideName), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if a.known == nil {
		if err := a.read(f); err != nil {
			return false, err
		}
		if err := journal.SyncDir(dir); err != nil { // it may be new: its name is to survive a power cut too
			return false, err
		}
	}
	id := attemptID{r.RequestID, r.Attempt}
	if a.known[id] {
		return false, nil
	}
	line, err := json.Marshal(asideRow{r, r.Intent.At, r.Settle.At})
	if err != nil {
		return false, err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		a.known = nil // a part of it may be there
		return false, err
	}
	if err := f.Sync(); err != nil {
		a.known = nil
		return false, err
	}
	a.known[id] = true
	return true, nil
}

// read learns what the file holds. What a process that died has left of a line is
// ended, and counts for nothing: its row comes again.
func (a *aside) read(f *os.File) error {
	known := map[attemptID]bool{}
	for in := bufio.NewReader(f); ; {
		line, err := in.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) > 0:
			if _, err := f.Write([]byte("\n")); err != nil {
				return err
			}
			fallthrough
		case errors.Is(err, io.EOF):
			a.known = known
			return nil
		case err != nil:
			return err
		}
		var id attemptID
		if json.Unmarshal(line, &id) == nil && id != (attemptID{}) {
			known[id] = true
		}
	}
}
