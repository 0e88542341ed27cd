//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sluice/internal/fakeprovider"
	"sluice/proxy/tokens"
)

// moneyRow is one row of spend.
type moneyRow struct {
	attempt            int
	status, kind       string
	http               int
	token, user        string
	team, organization string
	customer, model    string
	call, answer       string
	prompt, completion int64
	estimated          bool
	cost               int64
	served             *fakeprovider.Entry // what the provider knows of it; nil: nothing
}

const moneyRows = `SELECT call_id, attempt, status, error_kind, http_status, token, user_id, team_id, organization_id, end_user, model_id,
	provider_request_id, prompt_tokens, completion_tokens, estimated, cost FROM sluice.spend ORDER BY call_id, request_id, attempt`

// rows reads all rows, by the id of their call.
func (w *moneyWorld) rows() map[string][]*moneyRow {
	w.t.Helper()
	out := map[string][]*moneyRow{}
	for _, c := range w.db.texts(moneyRows) {
		number := func(i int) int64 {
			n, err := strconv.ParseInt(c[i], 10, 64)
			if err != nil {
				w.t.Fatalf("column %d of a row of spend: %v", i, err)
			}
			return n
		}
		r := &moneyRow{
			call: c[0], attempt: int(number(1)), status: c[2], kind: c[3], http: int(number(4)), token: c[5], user: c[6], team: c[7], organization: c[8],
			customer: c[9], model: c[10], answer: c[11], prompt: number(12), completion: number(13),
			estimated: c[14] == "t" || c[14] == "true" || c[14] == "1", cost: number(15),
		}
		out[r.call] = append(out[r.call], r)
	}
	return out
}

// verdict is what a comparison has found.
type verdict struct {
	lost     []string // served or acknowledged, and not in a row as it should be
	double   []string // more rows than calls, or sums above those of the rows
	wrong    []string // tokens, cost or names that are not right
	sums     []string // sums that are not those of the rows
	calls    int
	entries  int
	rows     int
	statuses map[string]int // rows by status
	answers  map[int]int    // calls by the status of their answer
	cost     int64
}

func (v *verdict) all() []string {
	return slices.Concat(v.lost, v.double, v.wrong, v.sums)
}

func (v *verdict) String() string {
	return fmt.Sprintf("%d calls answered %v, %d served by the provider, %d rows %v, %s $; %d lost, %d double, %d wrong, %d sums wrong",
		v.calls, v.answers, v.entries, v.rows, v.statuses, dollars(v.cost), len(v.lost), len(v.double), len(v.wrong), len(v.sums))
}

// compare judges the rows by the provider's ledger and by what clients saw.
func (w *moneyWorld) compare(calls []moneyCall) *verdict {
	w.t.Helper()
	v := &verdict{statuses: map[string]int{}, answers: map[int]int{}, calls: len(calls)}
	rows := w.rows()
	entries := map[string][]fakeprovider.Entry{}
	for _, e := range w.p.Ledger().All() {
		entries[e.ID] = append(entries[e.ID], e)
		v.entries++
	}
	for i := range calls {
		c := &calls[i]
		v.answers[c.status]++
		w.judge(v, c, entries[c.id], rows[c.id])
		delete(entries, c.id)
		delete(rows, c.id)
	}
	for _, id := range slices.Sorted(maps.Keys(entries)) {
		v.wrong = append(v.wrong, fmt.Sprintf("the provider served %s, which nobody has sent", id))
	}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		v.wrong = append(v.wrong, fmt.Sprintf("%d rows of call %q, which nobody has made: %+v", len(rows[id]), id, *rows[id][0]))
	}
	w.sums(v)
	return v
}

// judge compares one call with what the provider and the database know of it.
func (w *moneyWorld) judge(v *verdict, c *moneyCall, entries []fakeprovider.Entry, rows []*moneyRow) {
	rows, entries = slices.Clone(rows), slices.Clone(entries)
	script := func(e *fakeprovider.Entry) string {
		return strings.TrimSuffix(strings.TrimPrefix(e.Path, "/"), "/v1/chat/completions")
	}
	take := func(r *moneyRow, ok func(e *fakeprovider.Entry) bool) {
		m := modelByID(w.models, r.model)
		if r.served != nil || m == nil {
			return
		}
		for i := range entries {
			if e := &entries[i]; script(e) == m.script && ok(e) {
				r.served = &fakeprovider.Entry{}
				*r.served = *e
				entries = slices.Delete(entries, i, i+1)
				return
			}
		}
	}
	for _, r := range rows {
		if r.answer != "" {
			take(r, func(e *fakeprovider.Entry) bool { return e.Answer == r.answer })
		}
	}
	for _, r := range rows {
		if r.answer == "" && r.status != "rejected" {
			take(r, func(*fakeprovider.Entry) bool { return true })
		}
	}
	for i := range entries {
		e := &entries[i]
		v.lost = append(v.lost, fmt.Sprintf("%s: attempt %d at the provider (%s, %d bytes, whole %v) has no row; rows %s", c.id, e.Attempt, e.Answer, e.Bytes, e.Complete, briefly(rows)))
	}
	good := 0
	for _, r := range rows {
		v.rows++
		v.statuses[r.status]++
		v.cost += r.cost
		if r.status == "success" {
			good++
		}
		w.judgeRow(v, c, r)
	}
	switch {
	case c.whole && good == 0:
		v.lost = append(v.lost, fmt.Sprintf("%s: its client has the whole answer, and no row says so; rows %s", c.id, briefly(rows)))
	case good > 1:
		v.double = append(v.double, fmt.Sprintf("%s: %d rows are successes: %s", c.id, good, briefly(rows)))
	case c.whole:
		w.judgeAnswer(v, c, rows)
	}
}

// briefly is rows in one line.
func briefly(rows []*moneyRow) string {
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%d:%s/%d/%s/%s prompt %d completion %d cost %d", r.attempt, r.status, r.http, r.model, r.answer, r.prompt, r.completion, r.cost))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// judgeAnswer compares a whole answer with its row.
func (w *moneyWorld) judgeAnswer(v *verdict, c *moneyCall, rows []*moneyRow) {
	for _, r := range rows {
		if r.status != "success" {
			continue
		}
		if c.said != (usageOf{}) && (c.said.Prompt != r.prompt || c.said.Completion != r.completion) {
			v.wrong = append(v.wrong, fmt.Sprintf("%s: the client was told %+v, the row has %d and %d", c.id, c.said, r.prompt, r.completion))
		}
		if text := c.header.Get("x-litellm-response-cost"); !c.kind.stream && nanoOf(text) != r.cost {
			v.wrong = append(v.wrong, fmt.Sprintf("%s: x-litellm-response-cost is %q, the row's cost %s", c.id, text, dollars(r.cost)))
		}
	}
}

// nanoOf reads a decimal number of dollars, -1 where it is none.
func nanoOf(text string) int64 {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return -1
	}
	if r.Mul(r, big.NewRat(1e9, 1)); !r.IsInt() {
		return -1
	}
	return r.Num().Int64()
}

// judgeRow compares a row with what the provider served for it.
func (w *moneyWorld) judgeRow(v *verdict, c *moneyCall, r *moneyRow) {
	wrong := func(format string, args ...any) {
		v.wrong = append(v.wrong, c.id+": "+fmt.Sprintf(format, args...)+": "+briefly([]*moneyRow{r}))
	}
	if k := w.keys[c.key]; r.token != k.token || r.user != k.user || r.team != k.team || r.organization != k.organization || r.customer != c.customer {
		wrong("charged to %.8s %s %s %s customer %q, called by %.8s %s %s %s customer %q", r.token, r.user, r.team, r.organization, r.customer,
			k.token, k.user, k.team, k.organization, c.customer)
	}
	m := modelByID(w.models, r.model)
	if r.status == "rejected" {
		if r.cost != 0 {
			wrong("refused, and it costs something")
		}
		return
	}
	if m == nil {
		wrong("no deployment has that id")
		return
	}
	if want := r.prompt*m.in + r.completion*m.out; r.status != "failure" && r.cost != want {
		wrong("costs %d nano-dollars, %d and %d tokens at %d and %d are %d", r.cost, r.prompt, r.completion, m.in, m.out, want)
	}
	script, err := fakeprovider.ParseScript(m.script)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	var sent fakeprovider.Sent
	if e := r.served; e != nil && e.Streamed && e.Status == http.StatusOK {
		sent = script.Shape.Sent(e.Seed, e.Usage, e.Bytes)
	}
	most := tokens.Count(fakeprovider.Model, sent.Text)
	switch r.status {
	case "success":
		w.judgeSuccess(wrong, r, script.Name == "usage")
	case "failure":
		if r.cost != 0 {
			wrong("failed, and it costs something")
		}
		if e := r.served; e != nil && e.Complete && e.Status == http.StatusOK && script.Name == "ok" && !c.kind.leave {
			wrong("failed, and the provider had answered well")
		}
	case "cut":
		switch e := r.served; {
		case e == nil && r.completion != 0, e != nil && !e.Streamed && r.completion != 0 && r.completion != e.Tokens.Completion:
			wrong("was cut, and has tokens that nobody said")
		case e == nil || !e.Streamed:
		case sent.Usage && !r.estimated:
			if r.prompt != e.Tokens.Prompt || r.completion != e.Tokens.Completion {
				wrong("was cut after the provider had said %+v", e.Tokens)
			}
		case !r.estimated || !countsBetween(c.text, sent.Text, r.completion):
			wrong("was cut; the client has text of %d tokens, the provider wrote %d", tokens.Count(fakeprovider.Model, c.text), most)
		}
	case "interrupted":
		// What was said last before a process died is a rough count.
		if r.completion > most*5/4+8 || !r.estimated || r.prompt <= 0 && m.in > 0 {
			wrong("was interrupted; the provider wrote %d tokens", most)
		}
	default:
		wrong("has a status that is not known")
	}
}

// countsBetween says whether something that begins with what the client has, and
// is the beginning of what the provider wrote, has so many tokens: a text may have
// fewer than its own beginning.
func countsBetween(client, provider string, n int64) bool {
	for end := min(len(client), len(provider)); end <= len(provider); end++ {
		if (end == len(provider) || utf8.RuneStart(provider[end])) && tokens.Count(fakeprovider.Model, provider[:end]) == n {
			return true
		}
	}
	return false
}

// judgeSuccess wants the tokens to be those that the provider said.
func (w *moneyWorld) judgeSuccess(wrong func(string, ...any), r *moneyRow, silent bool) {
	e := r.served
	switch {
	case e == nil:
		wrong("is a success that no provider served")
	case silent && (!r.estimated || r.prompt <= 0 || r.completion <= 0):
		wrong("nobody said what it cost: it is estimated")
	case !silent && (r.estimated || r.prompt != e.Tokens.Prompt || r.completion != e.Tokens.Completion):
		wrong("the provider said %+v, estimated is %v", e.Tokens, r.estimated)
	}
}

// moneySums compare sums with the rows that they are of. Each yields a name, the
// sum that is there, and what the rows come to, where those differ.
var moneySums = []string{
	sumOf("keys", "token", "token", "token"),
	sumOf("users", "user_id", "user_id", "user_id"),
	sumOf("teams", "team_id", "team_id", "team_id"),
	sumOf("team_members", "team_id || '/' || user_id", "team_id || '/' || user_id", "team_id <> '' AND user_id"),
	sumOf("organizations", "organization_id", "organization_id", "organization_id"),
	sumOf("end_users", "user_id", "end_user", "end_user"),
	`SELECT 'daily_spend', 'all', d.spend, s.cost FROM (SELECT coalesce(sum(spend), 0) AS spend FROM sluice.daily_spend WHERE entity_type = '') d,
		(SELECT coalesce(sum(cost), 0) AS cost FROM sluice.spend) s WHERE d.spend <> s.cost`,
	`SELECT 'daily_spend, tokens', d.token, d.n, s.n FROM
		(SELECT token, sum(prompt_tokens + completion_tokens) AS n FROM sluice.daily_spend WHERE entity_type = '' GROUP BY token) d JOIN
		(SELECT token, sum(prompt_tokens + completion_tokens) AS n FROM sluice.spend GROUP BY token) s ON s.token = d.token WHERE d.n <> s.n`,
	`SELECT 'daily_spend, successes', d.token, d.n, s.n FROM
		(SELECT token, sum(successful_requests) AS n FROM sluice.daily_spend WHERE entity_type = '' GROUP BY token) d JOIN
		(SELECT token, sum(CASE WHEN status = 'success' THEN 1 ELSE 0 END) AS n FROM sluice.spend GROUP BY token) s ON s.token = d.token WHERE d.n <> s.n`,
	`SELECT 'budget_windows', w.entity_type || ' ' || w.entity_id, w.spend, s.cost FROM sluice.budget_windows w JOIN
		(SELECT token AS id, sum(cost) AS cost FROM sluice.spend GROUP BY token
		UNION ALL SELECT user_id, sum(cost) FROM sluice.spend WHERE user_id <> '' GROUP BY user_id
		UNION ALL SELECT team_id, sum(cost) FROM sluice.spend WHERE team_id <> '' GROUP BY team_id) s ON s.id = w.entity_id
		WHERE w.entity_type IN ('key', 'user', 'team') AND w.window_duration = '30d' AND w.spend <> s.cost`,
	`SELECT 'leased', w.entity_type || ' ' || w.entity_id, w.leased, coalesce(l.amount, 0) FROM sluice.budget_windows w LEFT JOIN
		(SELECT entity_type, entity_id, window_duration, sum(amount) AS amount FROM sluice.budget_leases GROUP BY entity_type, entity_id, window_duration) l
		ON l.entity_type = w.entity_type AND l.entity_id = w.entity_id AND l.window_duration = w.window_duration WHERE w.leased <> coalesce(l.amount, 0)`,
}

// sumOf compares the spend of objects with the rows that name them.
func sumOf(table, id, of, named string) string {
	return fmt.Sprintf(`SELECT '%[1]s', o.id, o.spend, coalesce(s.cost, 0) FROM (SELECT %[2]s AS id, spend FROM sluice.%[1]s) o LEFT JOIN
		(SELECT %[3]s AS id, sum(cost) AS cost FROM sluice.spend WHERE %[4]s <> '' GROUP BY 1) s ON s.id = o.id WHERE o.spend <> coalesce(s.cost, 0)`, table, id, of, named)
}

// sums compares every sum with the rows.
func (w *moneyWorld) sums(v *verdict) {
	w.t.Helper()
	for _, query := range moneySums {
		for _, c := range w.db.texts(query) {
			text := fmt.Sprintf("%s of %s: %s, the rows come to %s", c[0], c[1], c[2], c[3])
			sum, _ := strconv.ParseInt(c[2], 10, 64)
			rows, _ := strconv.ParseInt(c[3], 10, 64)
			if v.sums = append(v.sums, text); sum > rows && c[0] != "leased" {
				v.double = append(v.double, text)
			}
		}
	}
}

// settled waits until the rows say what happened, and looks again later: what
// is shipped twice may be so after a while. It fails the test with what is wrong
// when it does not come to that.
func (w *moneyWorld) settled(calls []moneyCall, within time.Duration) *verdict {
	w.t.Helper()
	began := time.Now()
	v := w.quiet(calls, within)
	took := time.Since(began)
	if len(v.all()) == 0 {
		time.Sleep(1500 * time.Millisecond)
		v = w.compare(calls)
	}
	w.t.Logf("%s: settled after %v: %v", w.name, took.Round(100*time.Millisecond), v)
	for _, problems := range [][]string{v.lost, v.double, v.wrong, v.sums} {
		for _, text := range problems[:min(len(problems), 8)] {
			w.t.Error(text)
		}
	}
	if w.t.Failed() {
		w.t.Log(w.tail(40))
	}
	return v
}

// quiet waits until the provider serves nobody and the rows are right, or the
// time is over, and returns the last comparison, which then began when it was.
func (w *moneyWorld) quiet(calls []moneyCall, within time.Duration) *verdict {
	w.t.Helper()
	deadline := time.Now().Add(within)
	for w.p.Ledger().Running() > 0 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	for _, e := range w.p.Ledger().All() {
		if e.End.IsZero() {
			w.t.Errorf("the provider still serves %s, %s, %d bytes so far, since %v", e.ID, e.Path, e.Bytes, time.Since(e.Start))
		}
	}
	deadline = time.Now().Add(within) // of what was served last
	for {
		over := time.Now().After(deadline)
		v := w.compare(calls)
		if len(v.all()) == 0 || over {
			return v
		}
		time.Sleep(500 * time.Millisecond)
	}
}
