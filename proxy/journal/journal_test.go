package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sluice/proxy/bill"
	"sluice/proxy/llm"
)

const holder = "00112233445566778899aabbccddeeff"

// config is a writer's over a fresh directory.
func config(t testing.TB) Config {
	t.Helper()
	return Config{
		Dir: filepath.Join(t.TempDir(), "journal"), Host: "host-1", Holder: holder, Slot: 1, Generation: 3, Bound: 64 << 20,
		Log: slog.New(slog.NewTextHandler(testLog{t}, nil)),
	}
}

// testLog is the log of a test; what comes after its end is dropped.
type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) {
	if testing.Verbose() {
		return os.Stderr.Write(b)
	}
	return len(b), nil
}

func open(t testing.TB, c Config) *Writer {
	t.Helper()
	w, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

// id is a request id that says n.
func id(n int) (out [16]byte) {
	copy(out[:], fmt.Sprintf("request-%08d", n))
	return out
}

func intent(n int) *bill.Intent {
	return &bill.Intent{
		RequestID: id(n), At: int64(n), CallType: "/v1/chat/completions", Token: strings.Repeat("ab", 32), User: "user-1", Team: "team-1",
		Organization: "org-1", CallID: "0192e4c5-7a6b-7c8d-9e0f-112233445566", ClientAddress: "192.0.2.17", Model: "gpt-4o", ModelID: "deployment-1",
		Provider: "openai", ProviderModel: "gpt-4o-2024-08-06", Price: 4711, Prompt: 321, Reserved: 123456, Claim: 17,
		Accounts: []bill.Account{
			{Kind: bill.KindKey, ID: strings.Repeat("ab", 32), Window: "30d", Start: 1790000000, Leased: true},
			{Kind: bill.KindUser, ID: "user-1"},
			{Kind: bill.KindTeam, ID: "team-1", Window: "1d", Start: 1790000000, Leased: true},
			{Kind: bill.KindMember, ID: "team-1/user-1"},
			{Kind: bill.KindProxy},
		},
	}
}

func settle(n int) *bill.Settle {
	return &bill.Settle{
		At: int64(n) + 5, FirstByteAt: int64(n) + 2, Status: bill.StatusSuccess, HTTPStatus: 200, ProviderID: "chatcmpl-0123456789",
		Usage: llm.Usage{Input: 321, Output: 45, Total: 366, Reported: true}, Cost: 987654,
	}
}

type price struct {
	version int64
	text    string
}

func (p price) Version() int64   { return p.version }
func (p price) Document() []byte { return []byte(p.text) }

var priced Price = price{4711, `{"input":"2.5","output":"10"}`}

// read gives all records of all segments of dirs, in order.
func read(t testing.TB, dirs ...string) (out []Record) {
	t.Helper()
	segments, err := Scan(dirs...)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		if s.Problem != nil {
			t.Log(s.Path, s.Problem)
			continue
		}
		if _, err := s.Read(0, func(_, _ int64, r Record) error {
			out = append(out, owned(r))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// owned is a copy of a record that stays.
func owned(r Record) Record {
	switch r := r.(type) {
	case *Intent:
		c := *r
		return &c
	case *Settle:
		c := *r
		return &c
	case *Progress:
		c := *r
		return &c
	case *Reject:
		c := *r
		return &c
	}
	return r
}

// only are the records of one type.
func only[T Record](records []Record) (out []T) {
	for _, r := range records {
		if r, ok := r.(T); ok {
			out = append(out, r)
		}
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	c := config(t)
	w := open(t, c)
	must(t, w.Intent(intent(1), priced))
	must(t, w.Progress(id(1), 0, 256))
	must(t, w.Settle(id(1), 0, settle(1)))
	must(t, w.Intent(intent(2), priced))
	must(t, w.Reject(intent(3), settle(3)))
	w.Body(id(1), 0, []byte(`[{"role":"user"}]`), []byte(`{"id":"x"}`), nil)
	must(t, w.Close())
	got := read(t, c.Dir)
	first := int64(3) << 40
	want := []Record{
		&PriceDoc{Version: 4711, Document: priced.Document()},
		&Intent{Sequence: first + 2, Intent: *intent(1)}, &Progress{Sequence: first + 3, RequestID: id(1), Output: 256},
		&Settle{Sequence: first + 4, RequestID: id(1), Settle: *settle(1)}, &Intent{Sequence: first + 5, Intent: *intent(2)},
		&Reject{Sequence: first + 6, Intent: *intent(3), Settle: *settle(3)}, &Finish{Last: true},
		&Body{RequestID: id(1), Messages: []byte(`[{"role":"user"}]`), Response: []byte(`{"id":"x"}`)}, &Finish{},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", show(got), show(want))
	}
	if err := w.Settle(id(1), 0, settle(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed writer says %v", err)
	}
	segments, _ := Scan(c.Dir)
	if len(segments) != 2 || !segments[0].Finished || segments[0].Size != segments[0].Committed || segments[0].Host != "host-1" ||
		segments[0].Holder != holder || segments[0].Slot != 1 || segments[0].Generation != 3 || segments[0].Number != 1 {
		t.Errorf("segments are %+v", segments)
	}
	if left, _ := filepath.Glob(c.Dir + "/*.new"); len(left) > 0 {
		t.Errorf("%v were left", left)
	}
}

func show(records []Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%T %+v\n", r, r)
	}
	return b.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryField sees that each field of what is billed is written and read: a
// new one that nobody encodes fails here.
func TestEveryField(t *testing.T) {
	var in bill.Intent
	var s bill.Settle
	n := 0
	number(t, reflect.ValueOf(&in).Elem(), &n)
	number(t, reflect.ValueOf(&s).Elem(), &n)
	rec := appendSettle(appendIntent(begin(nil, typeReject), &in), &s)
	got, err := newDecoder().decode(rec)
	must(t, err)
	if want := (&Reject{Intent: in, Settle: s}); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// number gives every field a value of its own.
func number(t *testing.T, v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			number(t, v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			number(t, v.Index(i), n)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) << 20)
	case reflect.Uint8, reflect.Uint32:
		v.SetUint(2) // there are tiers and sizes of that number
	default:
		t.Fatalf("a field of kind %s is new here", v.Kind())
	}
}

func TestCut(t *testing.T) {
	c := config(t)
	w := open(t, c)
	long := strings.Repeat("é", 4000)
	metadata := intent(1)
	metadata.Metadata = `{"a":"` + long + `"}`
	tags := intent(2)
	tags.Tags = []string{"first", strings.Repeat("t", 3000), strings.Repeat("u", 3000)}
	names := intent(3)
	names.User, names.EndUser, names.Session = long, long, long
	names.Accounts = append(names.Accounts, bill.Account{Kind: bill.KindCustomer, ID: long})
	huge := intent(4)
	for i := range 40 {
		huge.Accounts = append(huge.Accounts, bill.Account{Kind: bill.KindTag, ID: fmt.Sprint(i, long)})
	}
	for _, in := range []*bill.Intent{metadata, tags, names, huge} {
		must(t, w.Intent(in, priced))
	}
	if s := w.Stats(); s.Cut != 4 {
		t.Errorf("%d records were cut, want 4", s.Cut)
	}
	must(t, w.Close())
	got := only[*Intent](read(t, c.Dir))
	if len(got) != 4 {
		t.Fatalf("%d intents were read, want 4", len(got))
	}
	if want := intent(1); !reflect.DeepEqual(&got[0].Intent, want) {
		t.Errorf("without its metadata an intent is\n%+v\nwant\n%+v", got[0].Intent, want)
	}
	if want := []string{"first"}; len(got[1].Tags) != 2 || got[1].Tags[0] != want[0] {
		t.Errorf("tags are %.80q", got[1].Tags)
	}
	cut := got[2].Intent
	if !strings.HasSuffix(cut.User, cutMark) || len(cut.User) > 256 || !strings.HasPrefix(long, strings.TrimSuffix(cut.User, cutMark)) {
		t.Errorf("the user is %q", cut.User)
	}
	if !reflect.DeepEqual(cut.Accounts, names.Accounts) || cut.Token != names.Token {
		t.Error("accounts were cut")
	}
	if n := len(got[3].Accounts); n < 5 || n >= 45 {
		t.Errorf("%d accounts are left of an impossible number", n)
	}
}

func TestSegmentsTurn(t *testing.T) {
	c := config(t)
	c.Bound = 16 << 20 // segments of 256 KiB
	w := open(t, c)
	const requests = 2000
	for n := range requests {
		must(t, w.Intent(intent(n), priced))
		must(t, w.Settle(id(n), 0, settle(n)))
	}
	must(t, w.Close())
	segments, err := Scan(c.Dir)
	must(t, err)
	if len(segments) < 3 {
		t.Fatalf("there are %d segments", len(segments))
	}
	n := 0
	last := int64(0)
	for i, s := range segments {
		if s.Number <= last || !s.Finished || s.Size > 256<<10 {
			t.Errorf("segment %d is %+v", i, s)
		}
		last = s.Number
		known := map[int64]bool{}
		_, err := s.Read(0, func(_, _ int64, r Record) error {
			switch r := r.(type) {
			case *PriceDoc:
				known[r.Version] = true
			case *Intent:
				if !known[r.Price] {
					return errors.New("a segment does not explain itself")
				}
				if r.RequestID != id(n) {
					return fmt.Errorf("%s comes in place %d", r.RequestID, n)
				}
				n++
			case *Finish:
				if r.Last != (i == len(segments)-1) {
					return errors.New("the wrong segment says that it is the last")
				}
			}
			return nil
		})
		must(t, err)
	}
	if n != requests {
		t.Errorf("%d intents were read, want %d", n, requests)
	}
}

func TestResume(t *testing.T) {
	c := config(t)
	w := open(t, c)
	segments, err := Scan(c.Dir)
	must(t, err)
	s, at, n := segments[0], int64(0), 0
	for i := range 50 {
		must(t, w.Intent(intent(i), nil))
		stop := errors.New("stop")
		next, err := s.Read(at, func(off, end int64, r Record) error {
			if i%3 == 0 {
				return stop
			}
			if r, ok := r.(*Intent); !ok || r.RequestID != id(n) || off >= end {
				t.Fatalf("record %d is %+v", n, r)
			}
			n++
			return nil
		})
		if i%3 == 0 {
			if !errors.Is(err, stop) || next != max(at, Start) {
				t.Fatalf("stopped at %d with %v, began at %d", next, err, at)
			}
		} else {
			must(t, err)
		}
		at = next
	}
	if n != 50 {
		t.Errorf("%d of 50 records were read", n)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"holder": func(c *Config) { c.Holder = "xyz" },
		"host":   func(c *Config) { c.Host = strings.Repeat("h", 65) },
		"directory": func(c *Config) {
			must(t, os.WriteFile(c.Dir, nil, 0o600))
		},
	} {
		c := config(t)
		spoil(&c)
		if w, err := Open(c); err == nil {
			_ = w.Close()
			t.Errorf("a wrong %s is taken", name)
		} else if name == "directory" && (!errors.Is(err, ErrDirectory) || !strings.Contains(err.Error(), c.Dir)) {
			t.Errorf("the error says %v", err)
		}
	}
}

func TestNothingIsReadable(t *testing.T) {
	c := config(t)
	must(t, os.MkdirAll(c.Dir, 0o755))
	w := open(t, c)
	must(t, w.Intent(intent(1), priced))
	w.Body(id(1), 0, []byte(`{}`), nil, nil)
	must(t, w.Close())
	info, err := os.Stat(c.Dir)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %o", info.Mode().Perm())
	}
	entries, _ := os.ReadDir(c.Dir)
	for _, e := range entries {
		if info, _ := e.Info(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", e.Name(), info.Mode().Perm())
		}
	}
}

func TestUnused(t *testing.T) {
	c := config(t)
	w := open(t, c)
	must(t, w.Close())
	must(t, w.Close())
	if left, _ := filepath.Glob(c.Dir + "/*.seg"); len(left) != 0 {
		t.Errorf("a writer that wrote nothing left %v", left)
	}
}
