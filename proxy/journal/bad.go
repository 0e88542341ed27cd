//go:build sluicebad

package journal

import "os"

// The known-bad behaviours that the tests of the journal must catch, named by
// SLUICE_TEST_BAD: no-crc is a reader that believes what it reads, memory-queue
// a writer that keeps records in memory and writes them every second.

// unchecked is a reader that checks no sums.
func unchecked() bool { return os.Getenv("SLUICE_TEST_BAD") == "no-crc" } //nolint:forbidigo // test builds only

// memoryQueue holds what was acknowledged and not written.
type memoryQueue struct {
	on      bool
	records [][]byte
}

// add keeps a record in memory. The writer's lock is held.
func (q *memoryQueue) add(rec []byte) bool {
	if q.on || os.Getenv("SLUICE_TEST_BAD") != "memory-queue" { //nolint:forbidigo // test builds only
		return false
	}
	q.records = append(q.records, append([]byte(nil), rec...))
	return true
}

// drain writes what is kept in memory.
func (q *memoryQueue) drain(w *Writer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	q.on = true
	for _, rec := range q.records {
		_ = w.write(rec, 0, nil) // what fails is lost: that is what this build is for
	}
	q.records, q.on = nil, false
}
