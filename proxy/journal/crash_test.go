package journal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the writer that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("JOURNAL_TEST_WRITER"); dir != "" {
		if err := writeUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// writeUntilKilled writes requests from several goroutines and says on standard
// output which ones were acknowledged.
func writeUntilKilled(dir string) error {
	generation, err := strconv.ParseInt(os.Getenv("JOURNAL_TEST_GENERATION"), 10, 64)
	if err != nil {
		return err
	}
	mode, _ := SyncNamed(os.Getenv("JOURNAL_TEST_SYNC"))
	w, err := Open(Config{Dir: dir, Host: "host-1", Holder: holder, Generation: generation, Bound: 16 << 20, Sync: mode})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for k := range 4 {
		all.Go(func() {
			for i := 0; ; i++ {
				n := int(generation)*1_000_000 + k*200_000 + i
				if w.Intent(intent(n), priced) != nil || w.Settle(id(n), 0, settle(n)) != nil {
					return
				}
				mu.Lock()
				_, _ = os.Stdout.WriteString(strconv.Itoa(n) + "\n") // a pipe that is closed ends this process
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return errors.New("the journal refused")
}

// TestKilled kills a writer process in the middle of its work, many times:
// every record that it had acknowledged is there, whole, once.
func TestKilled(t *testing.T) {
	dir := config(t).Dir
	acknowledged := map[int]bool{}
	rounds := 12
	if os.Getenv("JOURNAL_TEST_ROUNDS") != "" {
		rounds, _ = strconv.Atoi(os.Getenv("JOURNAL_TEST_ROUNDS"))
	}
	for generation := 1; generation <= rounds; generation++ {
		for _, n := range killed(t, dir, generation) {
			acknowledged[n] = true
		}
		// What is shipped is out of the way, so that the bound is not met.
		segments, err := Scan(dir)
		must(t, err)
		for _, s := range segments {
			must(t, s.MarkShipped(s.Committed))
		}
	}
	intents, settles := map[[16]byte]int{}, map[[16]byte]int{}
	for _, r := range read(t, dir) {
		switch r := r.(type) {
		case *Intent:
			intents[r.RequestID]++
		case *Settle:
			settles[r.RequestID]++
		case *Damaged:
			t.Error("there are damaged records")
		}
	}
	lost := 0
	for n := range acknowledged {
		if intents[id(n)] != 1 || settles[id(n)] != 1 {
			lost++
		}
	}
	if lost > 0 || len(settles)-len(acknowledged) > 4*rounds+lost {
		t.Errorf("of %d acknowledged requests %d are lost; %d are written", len(acknowledged), lost, len(settles))
	}
	if len(acknowledged) < rounds {
		t.Errorf("only %d requests were acknowledged", len(acknowledged))
	}
	t.Logf("%d requests were acknowledged by %d writers before they were killed, %d are written", len(acknowledged), rounds, len(settles))
}

// killed runs a writer, kills it and gives what it had acknowledged.
func killed(t *testing.T, dir string, generation int) (acknowledged []int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_WRITER="+dir, "JOURNAL_TEST_GENERATION="+strconv.Itoa(generation))
	var failure strings.Builder
	cmd.Stderr = &failure
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the writer said %q and %s", first, failure.String())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		_ = cmd.Process.Signal(syscall.SIGKILL)
	}()
	rest, err := io.ReadAll(lines)
	must(t, err)
	<-done
	_ = cmd.Wait() // killed
	for line := range strings.Lines(first + string(rest)) {
		if n, err := strconv.Atoi(strings.TrimSuffix(line, "\n")); err == nil && strings.HasSuffix(line, "\n") {
			acknowledged = append(acknowledged, n)
		}
	}
	return acknowledged
}

// TestBeside follows a journal while it is written: every record comes once, in
// the order of its segment, none is taken for damaged.
func TestBeside(t *testing.T) {
	c := config(t)
	c.Bound = 16 << 20
	w := open(t, c)
	const clients, each = 4, 3000
	var all sync.WaitGroup
	for k := range clients {
		all.Go(func() {
			for i := range each {
				n := k*each + i
				if err := errors.Join(w.Intent(intent(n), priced), w.Progress(id(n), 0, 1), w.Settle(id(n), 0, settle(n))); err != nil {
					t.Error(err)
					return
				}
				w.Body(id(n), 0, []byte(`{"a":1}`), nil, nil)
			}
		})
	}
	written := make(chan struct{})
	go func() {
		all.Wait()
		_ = w.Close()
		close(written)
	}()
	at, settled, last := map[string]int64{}, map[[16]byte]bool{}, int64(0)
	for finished := false; !finished; {
		select {
		case <-written:
			finished = true
		default:
		}
		segments, err := Scan(c.Dir)
		must(t, err)
		for _, s := range segments {
			if s.Body {
				continue
			}
			next, err := s.Read(at[s.Name], func(_, _ int64, r Record) error {
				switch r := r.(type) {
				case *Settle:
					if settled[r.RequestID] || r.Sequence <= last {
						return fmt.Errorf("request %s comes twice or late", r.RequestID)
					}
					settled[r.RequestID], last = true, r.Sequence
				case *Damaged:
					return errors.New("a record is damaged")
				}
				return nil
			})
			must(t, err)
			if at[s.Name] = next; !s.Finished && next < s.Committed {
				t.Errorf("a segment is read to %d, it is committed to %d", next, s.Committed)
			}
			must(t, s.MarkShipped(next))
		}
	}
	if len(settled) != clients*each {
		t.Errorf("%d of %d settlements were read", len(settled), clients*each)
	}
	if s := w.Stats(); s.Bodies+s.BodiesLost != clients*each || s.Bodies == 0 {
		t.Errorf("bodies: %d written, %d dropped", s.Bodies, s.BodiesLost)
	}
}
