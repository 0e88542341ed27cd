//go:build !sluicebad

package journal

// Known-bad behaviours are built in by tests; a release has none.
type memoryQueue struct{}

func unchecked() bool                    { return false }
func (q *memoryQueue) add(_ []byte) bool { return false }
func (q *memoryQueue) drain(_ *Writer)   {}
