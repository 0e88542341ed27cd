package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

type told struct {
	kind uint8
	hash uint64
}

func drainRing(r *ChangeReader) (got []told, overrun bool) {
	overrun = r.Next(func(kind uint8, hash uint64) { got = append(got, told{kind, hash}) })
	return got, overrun
}

func TestRingTellsWhatChanged(t *testing.T) {
	table, _ := newTestTable(t, 1)
	table.PublishChange(9, "before")
	r := NewChangeReader(table)
	if got, overrun := drainRing(r); r.Pending() || len(got) > 0 || overrun {
		t.Fatalf("a new reader is told %v, overrun %v", got, overrun)
	}
	table.PublishChange(4, "team-1")
	table.PublishChange(63, "")
	if !r.Pending() {
		t.Fatal("a change is not pending")
	}
	got, overrun := drainRing(r)
	if overrun || len(got) != 2 || got[0] != (told{4, HashID("team-1")}) || got[1] != (told{63, HashID("")}) {
		t.Errorf("told %v, overrun %v", got, overrun)
	}
	if r.Pending() {
		t.Error("what was told is still pending")
	}
	table.PublishChange(AnyChange, "")
	if got, overrun := drainRing(r); !overrun || len(got) != 0 {
		t.Errorf("a change of everything: told %v, overrun %v", got, overrun)
	}
}

// A reader that is more than the ring behind is told so, at every lap.
func TestRingOverrun(t *testing.T) {
	table, _ := newTestTable(t, 1)
	r := NewChangeReader(table)
	for lap := range 3 {
		for i := range MaxChanges {
			table.PublishChange(1, strconv.Itoa(i))
		}
		if got, overrun := drainRing(r); overrun || len(got) != MaxChanges || got[MaxChanges-1].hash != HashID(strconv.Itoa(MaxChanges-1)) {
			t.Fatalf("lap %d: a full ring: %d told, overrun %v", lap, len(got), overrun)
		}
		for i := range MaxChanges + 1 {
			table.PublishChange(1, strconv.Itoa(i))
		}
		if _, overrun := drainRing(r); !overrun || r.Pending() {
			t.Fatalf("lap %d: one more than a ring: overrun %v, pending %v", lap, overrun, r.Pending())
		}
	}
	// The tag of the lap comes round, far behind.
	table.Header().AuthEpoch.Store(MaxChanges * (changeLapMask - 1))
	late := NewChangeReader(table)
	for i := range 3 * MaxChanges / 2 {
		table.PublishChange(2, strconv.Itoa(i))
		if i%1000 == 0 {
			if _, overrun := drainRing(late); overrun {
				t.Fatal("an overrun where the tag comes round")
			}
		}
	}
}

// Nothing is lost while many write, whatever order they come in.
func TestRingConcurrentWriters(t *testing.T) {
	table, _ := newTestTable(t, 1)
	const writers, each = 8, 20_000
	r := NewChangeReader(table)
	var wg sync.WaitGroup
	ended := make(chan struct{})
	turns := make(chan struct{}, MaxChanges/2) // keeps writers from overrunning the reader
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				turns <- struct{}{}
				table.publish(uint64(w+1)<<changeKindAt | uint64(i))
			}
		})
	}
	go func() { wg.Wait(); close(ended) }()
	var next [writers + 1]uint64
	for total := 0; total < writers*each; {
		overrun := r.Next(func(kind uint8, hash uint64) {
			if hash != next[kind] {
				t.Errorf("writer %d: told %d, want %d", kind, hash, next[kind])
			}
			next[kind] = hash + 1
			total++
			<-turns
		})
		if overrun {
			t.Fatal("overrun")
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	<-ended
	if n := table.Header().AuthEpoch.Load(); n != writers*each {
		t.Errorf("the head is at %d after %d changes", n, writers*each)
	}
}

// A writer that is killed after it has filled its entry and before it has moved
// the head: the next one publishes both.
func TestRingWriterKilled(t *testing.T) {
	table, _ := newTestTable(t, 1)
	r := NewChangeReader(table)
	table.ringWord(0).Store(lapTag(0)<<changeLapAt | 5<<changeKindAt | 77)
	if r.Pending() {
		t.Fatal("the head has not moved, and something is pending")
	}
	table.PublishChange(6, "x")
	got, overrun := drainRing(r)
	if overrun || len(got) != 2 || got[0] != (told{5, 77}) || got[1] != (told{6, HashID("x")}) {
		t.Errorf("told %v, overrun %v", got, overrun)
	}
}

func TestHashOfADigestIsItsBeginning(t *testing.T) {
	digest := sha256.Sum256([]byte("sk-1"))
	text := hex.EncodeToString(digest[:])
	want, err := strconv.ParseUint(text[:11], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	if HashID(text) != want || HashDigest(&digest) != want {
		t.Errorf("%x and %x, want %x", HashID(text), HashDigest(&digest), want)
	}
	for _, id := range []string{"", "a", text[:63], text + "0", "G" + text[1:]} {
		if h := HashID(id); h == want || h > changeHashMask {
			t.Errorf("%q: %x", id, h)
		}
	}
}

// A table that the release before made has no ring: who may write adds it.
func TestOpenTableGrowsAnEarlierOne(t *testing.T) {
	table, fd := newTestTable(t, 1)
	if err := unix.Ftruncate(fd, leastSize); err != nil {
		t.Fatal(err)
	}
	table.Header().size = leastSize
	reader, err := OpenTable(fd, true)
	if err != nil {
		t.Fatalf("a reader of a shorter table: %v", err)
	}
	if table.Header().size != leastSize {
		t.Error("a reader made the table longer")
	}
	_ = reader.Close()
	writer, err := OpenTable(fd, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.Close() }()
	r := NewChangeReader(writer)
	writer.PublishChange(1, "k")
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	if !r.Pending() || st.Size != TableSize || table.Header().size != TableSize {
		t.Errorf("pending %v, file of %d bytes, header says %d", r.Pending(), st.Size, table.Header().size)
	}
}

func BenchmarkPending(b *testing.B) {
	table, _ := newTestTable(b, 1)
	r := NewChangeReader(table)
	for b.Loop() {
		if r.Pending() {
			b.Fatal("pending")
		}
	}
}
