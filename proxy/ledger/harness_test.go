package ledger_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/internal/postgres"
	"sluice/internal/postgres/pgtest"
	"sluice/proxy/bill"
	"sluice/proxy/identity"
	"sluice/proxy/journal"
	"sluice/proxy/ledger"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/price"
	"sluice/proxy/store"
)

const (
	hostID = "11111111-2222-4333-8444-555555555555"
	holder = "0123456789abcdef0123456789abcdef"
	keys   = 5
)

// both runs a test with a database of either kind.
func both(t *testing.T, test func(t *testing.T, d *data)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, onPostgres(t, dbtest.PostgresURL(t))) })
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, open(t, &data{file: dbtest.SQLite(t)}))
	})
}

// data is a database, the objects in it, and what the journals say was spent.
type data struct {
	*store.Store
	url, file string
}

func onPostgres(t *testing.T, url string) *data { return open(t, &data{url: url}) }

func (d *data) config(tb testing.TB) store.Config {
	if d.url == "" {
		return store.Config{SQLite: d.file}
	}
	source, err := postgres.ParseURL(d.url)
	if err != nil {
		tb.Fatal(err)
	}
	return store.Config{Postgres: source}
}

// open opens a database and makes the objects in it.
func open(t *testing.T, d *data) *data {
	t.Helper()
	d.reopen(t)
	err := d.Change(t.Context(), store.Actor{}, func(tx *store.Tx) error {
		for k := range keys {
			if err := tx.Insert(&identity.Key{Token: token(k), UserID: "u", TeamID: "t"}); err != nil {
				return err
			}
		}
		if err := tx.Insert(&identity.User{ID: "u"}); err != nil {
			return err
		}
		return tx.Insert(&identity.Team{ID: "t"})
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// reopen opens a database as it is.
func (d *data) reopen(t *testing.T) *data {
	t.Helper()
	var err error
	if d.Store, err = store.Open(d.config(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func token(k int) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(k)))
	return hex.EncodeToString(sum[:])
}

// truth is what was written down of every attempt.
type truth struct {
	mu   sync.Mutex
	cost map[id]money.Nano // -1: open
}

type id struct {
	request [16]byte
	attempt int64
}

// load writes attempts into a journal.
type load struct {
	t     testing.TB
	w     *journal.Writer
	truth *truth
	price *price.Price
	n     uint64
	open  []id
	off   time.Duration // of the clock that it goes by
}

var perToken = func() *price.Price {
	fields := map[string]json.RawMessage{"input_cost_per_token": []byte("0.000001"), "output_cost_per_token": []byte("0.000002")}
	p, err := price.Compile(fields, "test")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return p
}()

func journalConfig(dir string, generation int64) journal.Config {
	return journal.Config{Dir: dir, Host: hostID, Holder: holder, Slot: int(generation % 2), Generation: generation, Bound: 1 << 30}
}

func newLoad(tb testing.TB, dir string, generation int64, tr *truth) *load {
	tb.Helper()
	return newLoadOf(tb, journalConfig(dir, generation), tr)
}

func newLoadOf(tb testing.TB, c journal.Config, tr *truth) *load {
	tb.Helper()
	w, err := journal.Open(c)
	if err != nil {
		tb.Fatal(err)
	}
	return &load{t: tb, w: w, truth: tr, price: perToken, n: uint64(c.Generation) << 32}
}

func (l *load) now() time.Time { return time.Now().Add(l.off) }

// next is the id of another attempt.
func (l *load) next() (k id) {
	l.n++
	binary.BigEndian.PutUint64(k.request[:8], uint64(l.now().UnixMilli())<<16|0x7000|l.n&0xfff)
	binary.BigEndian.PutUint64(k.request[8:], 1<<63|l.n)
	return k
}

// intent begins an attempt.
func (l *load) intent() id {
	k := l.next()
	l.truth.mu.Lock()
	l.truth.cost[k] = -1
	l.truth.mu.Unlock()
	l.begin(k)
	return k
}

// begin writes the intent of an attempt.
func (l *load) begin(k id) {
	in := &bill.Intent{
		RequestID: k.request, At: l.now().UnixNano(), CallType: "/v1/chat/completions", Token: token(int(l.n) % keys), User: "u", Team: "t",
		Model: "m", Provider: "p", ProviderModel: "m-1", Price: l.price.Version(), Prompt: 100,
		Accounts: []bill.Account{{Kind: bill.KindKey, ID: token(int(l.n) % keys)}},
	}
	if l.n%10 == 0 {
		in.EndUser, in.Tags = "customer", []string{"tag"}
	}
	if err := l.w.Intent(in, l.price); err != nil {
		l.t.Error(err)
	}
}

// settle ends it.
func (l *load) settle(k id) {
	usage := llm.Usage{Input: 100, Output: rand.Int64N(1000), Reported: true}
	usage.Total = usage.Input + usage.Output
	cost, _ := l.price.Cost(&usage)
	l.truth.mu.Lock()
	l.truth.cost[k] = cost
	l.truth.mu.Unlock()
	err := l.w.Settle(k.request, k.attempt, &bill.Settle{At: l.now().UnixNano(), Status: bill.StatusSuccess, HTTPStatus: 200, Usage: usage, Cost: cost})
	if err != nil {
		l.t.Error(err)
	}
}

// attempts makes n attempts, of which one in ten stays open until the end of the
// load.
func (l *load) attempts(n int) {
	for range n {
		k := l.intent()
		if l.n%10 == 3 && len(l.open) < 100 {
			l.open = append(l.open, k)
			if err := l.w.Progress(k.request, k.attempt, 50); err != nil {
				l.t.Error(err)
			}
			continue
		}
		l.settle(k)
	}
}

func (l *load) close() {
	for _, k := range l.open {
		l.settle(k)
	}
	l.open = nil
	if err := l.w.Close(); err != nil {
		l.t.Error(err)
	}
}

// killed is the directory of a journal as it is when its writer is killed at this
// moment: a copy, which nobody has open.
func killed(t *testing.T, dir string) string {
	t.Helper()
	to := dirOf(t)
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(to, "ledger.lock"))
	return to
}

// tick is a twenty-fifth of a worker's.
const tick = 10 * time.Millisecond

func newLedger(d ledger.Database, dir string) *ledger.Ledger {
	return ledger.New(config(d, dir))
}

func config(d ledger.Database, dir string) ledger.Config {
	return ledger.Config{Dirs: []string{dir}, HostID: hostID, Holder: holder, Database: d, Batch: 20 * time.Millisecond, Tick: tick}
}

// running runs a ledger until stop is called.
func running(t *testing.T, l *ledger.Ledger) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func flush(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Flush(ctx); err != nil {
		t.Error(err)
	}
}

// mustMatch compares the database with the truth: every attempt once, sums equal
// to the sums of rows. Open attempts are interrupted ones.
func mustMatch(t *testing.T, d *data, tr *truth) {
	t.Helper()
	mustMatchIn(t, d, tr, time.Now().Add(-24*time.Hour), time.Now())
}

// mustMatchIn is mustMatch of rows from a time to another.
func mustMatchIn(t *testing.T, d *data, tr *truth, from, to time.Time) {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	rows := d.rows(t)
	var sum money.Nano
	for k, cost := range tr.cost {
		row, ok := rows[k]
		switch {
		case !ok:
			t.Fatalf("attempt %x is not in the database: %d of %d rows are", k.request, len(rows), len(tr.cost))
		case cost < 0 && row.status != "interrupted":
			t.Errorf("attempt %x was open and is %s", k.request, row.status)
		case cost >= 0 && (row.cost != cost || row.status != "success"):
			t.Errorf("attempt %x cost %s and is %s of %s", k.request, cost, row.status, row.cost)
		}
		sum += row.cost
	}
	if len(rows) != len(tr.cost) {
		t.Errorf("%d rows of %d attempts", len(rows), len(tr.cost))
	}
	for what, got := range d.sums(t) {
		if got != int64(sum) {
			t.Errorf("%s have spent %d, their rows %d", what, got, sum)
		}
	}
	out, err := d.Reconcile(t.Context(), store.Reconciling{From: from, To: to, Deep: true})
	if err != nil || out.Drift != 0 || out.Rows != int64(len(rows)) {
		t.Errorf("%+v %v", out, err)
	}
}

type row struct {
	status string
	cost   money.Nano
}

// texts reads rows of texts.
func (d *data) texts(t *testing.T, statement string) [][]string {
	t.Helper()
	if d.url != "" {
		return pgtest.Rows(t, d.url, statement)
	}
	db, err := sql.Open("sqlite", "file:"+d.file+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), strings.ReplaceAll(statement, "sluice.", ""))
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	defer rows.Close()
	names, _ := rows.Columns()
	var out [][]string
	for rows.Next() {
		row, to := make([]string, len(names)), make([]any, len(names))
		for i := range row {
			to[i] = &row[i]
		}
		if err := rows.Scan(to...); err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// exec runs a statement behind the store's back.
func (d *data) exec(t *testing.T, statement string) {
	t.Helper()
	if d.url != "" {
		pgtest.Exec(t, d.url, statement)
		return
	}
	db, err := sql.Open("sqlite", "file:"+d.file+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), strings.ReplaceAll(statement, "sluice.", "")); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (d *data) rows(t *testing.T) map[id]row {
	t.Helper()
	request := "encode(uuid_send(request_id), 'hex')"
	if d.url == "" {
		request = "lower(hex(request_id))"
	}
	out := map[id]row{}
	for _, r := range d.texts(t, "SELECT "+request+", CAST(attempt AS TEXT), status, CAST(cost AS TEXT) FROM sluice.spend") {
		var k id
		raw, _ := hex.DecodeString(r[0])
		copy(k.request[:], raw)
		k.attempt, _ = strconv.ParseInt(r[1], 10, 64)
		cost, _ := strconv.ParseInt(r[3], 10, 64)
		out[k] = row{r[2], money.Nano(cost)}
	}
	return out
}

func (d *data) sums(t *testing.T) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	for _, table := range []string{"keys", "users", "teams"} {
		n, err := strconv.ParseInt(d.texts(t, "SELECT CAST(sum(spend) AS TEXT) FROM sluice."+table)[0][0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		out[table] = n
	}
	return out
}

func dirOf(t *testing.T) string { return filepath.Join(t.TempDir(), "journal") }
