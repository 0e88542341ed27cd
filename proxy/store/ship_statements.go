package store

import (
	"strings"
	"time"

	"sluice/proxy/bill"
	"sluice/proxy/money"
)

// step is a statement of shipping and its rows. On PostgreSQL it is run once for
// all rows, on SQLite once for each.
type step struct {
	sql  string // behind the rows as v
	rows *block
}

// objectKeys are the key columns of the tables of counted.
var objectKeys = [len(counted)][]string{
	{"token"},
	{"user_id"},
	{"team_id"},
	{"team_id", "user_id"},
	{"organization_id"},
	{"organization_id", "user_id"},
	{"project_id"},
	{"user_id"},
	{"tag_name"},
}

var objectTables = [len(counted)]string{
	"keys", "users", "teams", "team_members", "organizations", "organization_members", "projects", "end_users", "tags",
}

// added is how v changes the sum of a window: what is of the window that is
// there is added, a new window begins with what is of it, and what is of an old
// one changes nothing. A sum of which nobody has said which window it is of is
// of this one: it came from another system, or from before there were windows.
// So is what a clock that was ahead has counted in a window to come, and what is
// in one: no window begins before its time.
func added(sqlite bool, spend, from string) string {
	return "v.plain + CASE WHEN v.start IS NULL OR " + from + " IS NULL OR " + from + " = v.start OR " + toCome(sqlite, "v.start") + " OR " + toCome(sqlite, from) +
		" THEN " + spend + " + v.cost WHEN " + from + " < v.start THEN v.cost ELSE " + spend + " END"
}

// begun is the window that the sum is of afterwards.
func begun(sqlite bool, from string) string {
	return "CASE WHEN " + toCome(sqlite, "v.start") + " THEN COALESCE(" + from + ", v.start) WHEN v.start > " + from + " OR " + from + " IS NULL OR " +
		toCome(sqlite, from) + " THEN COALESCE(v.start, " + from + ") ELSE " + from + " END"
}

// toCome is true of the start of a window that has not begun yet by the
// database's clock: whose clock is not ahead of that by a minute knows of none.
func toCome(sqlite bool, start string) string {
	if sqlite {
		return start + " > " + sqliteNow + " + 60000000"
	}
	return start + " > now() + interval '1 minute'"
}

// shipSteps are the statements for what a batch adds up to, in the order in
// which all hosts lock what they share.
func shipSteps(sqlite bool, b *Batch, s *sums, now time.Time) []step {
	var out []step
	add := func(st step) {
		if st.rows.rows > 0 {
			out = append(out, st)
		}
	}
	add(priceStep(sqlite, b, now))
	add(bodyStep(sqlite, b))
	add(cursorStep(sqlite, b, now))
	add(dayStep(sqlite, s))
	for i := range counted {
		add(objectStep(sqlite, i, s, now))
	}
	return out
}

func priceStep(sqlite bool, b *Batch, now time.Time) step {
	rows := newBlock(sqlite, field{"version", asInt}, field{"document", asLetters}, field{"at", asTime})
	for i := range b.Prices {
		if doc := documentOf(string(b.Prices[i].Document)); doc != nil {
			rows.int(b.Prices[i].Version)
			rows.json(doc)
			rows.time(now.UnixNano())
		}
	}
	return step{`INSERT INTO sluice.price_versions (price_version, document, first_seen_at, last_used_at)
		SELECT v.version, v.document, v.at, v.at FROM v WHERE true ORDER BY v.version
		ON CONFLICT (price_version) DO UPDATE SET last_used_at = excluded.last_used_at`, rows}
}

func bodyStep(sqlite bool, b *Batch) step {
	rows := newBlock(sqlite, field{"request_id", asUUID}, field{"attempt", asInt}, field{"messages", asLetters}, field{"response", asLetters},
		field{"metadata", asLetters})
	for i := range b.Bodies {
		body := &b.Bodies[i]
		rows.uuid(&body.RequestID)
		rows.int(body.Attempt)
		for _, doc := range [][]byte{body.Messages, body.Response, body.Metadata} {
			rows.json(bodyOf(doc))
		}
	}
	return step{`INSERT INTO sluice.spend_bodies (request_id, attempt, messages, response, metadata)
		SELECT * FROM v WHERE true ON CONFLICT (request_id, attempt) DO NOTHING`, rows}
}

func cursorStep(sqlite bool, b *Batch, now time.Time) step {
	rows := newBlock(sqlite, field{"segment", asText}, field{"host", asText}, field{"position", asInt}, field{"at", asTime})
	for _, c := range b.Cursors {
		rows.text(c.Segment)
		rows.text(b.Host)
		rows.int(c.To)
		rows.time(now.UnixNano())
	}
	return step{`INSERT INTO sluice.journal_cursors (segment, host_id, position, updated_at) SELECT * FROM v WHERE true
		ON CONFLICT (segment) DO UPDATE SET host_id = excluded.host_id, position = excluded.position, updated_at = excluded.updated_at`, rows}
}

var (
	dayKeys   = []string{"entity_type", "day", "entity_id", "token", "user_id", "team_id", "organization_id", "project_id", "model_group", "model", "provider", "endpoint"}
	dayCounts = []string{
		"prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "spend", "requests", "successful_requests",
		"failed_requests",
	}
)

func dayStep(sqlite bool, s *sums) step {
	var fields []field
	for _, name := range dayKeys {
		f := field{name, asText}
		if name == "day" {
			f.sort = asDate
		}
		fields = append(fields, f)
	}
	var set []string
	for _, name := range dayCounts {
		fields = append(fields, field{name, asInt})
		set = append(set, name+" = daily_spend."+name+" + excluded."+name)
	}
	rows := newBlock(sqlite, fields...)
	for i, k := range sorted(s.days, func(a, b dayKey) int { return a.compare(&b) }) {
		pauseAfter(i)
		d := s.days[k]
		rows.text(k.kind)
		rows.date(k.day)
		for _, t := range [...]string{k.id, k.token, k.user, k.team, k.organization, k.project, k.group, k.model, k.provider, k.endpoint} {
			rows.text(t)
		}
		for _, n := range [...]int64{
			d.prompt, d.completion, d.cacheRead, d.cacheWrite, d.reasoning, int64(d.spend), d.requests, d.good, d.requests - d.good,
		} {
			rows.int(n)
		}
	}
	return step{"INSERT INTO sluice.daily_spend (" + strings.Join(rows.names, ", ") + ") SELECT * FROM v WHERE true ON CONFLICT (" +
		strings.Join(dayKeys, ", ") + ") DO UPDATE SET " + strings.Join(set, ", "), rows}
}

// objectStep adds to the spend of the objects of one kind. Objects that are not
// there (any more) are left out, but customers: they are made.
func objectStep(sqlite bool, i int, s *sums, now time.Time) step {
	keys, table := objectKeys[i], objectTables[i]
	var fields []field
	for _, k := range keys {
		fields = append(fields, field{k, asText})
	}
	fields = append(fields, field{"plain", asInt}, field{"cost", asInt}, field{"total", asInt}, field{"start", asTime}, field{"at", asTime})
	rows := newBlock(sqlite, fields...)
	for n, p := range sorted(s.objects[i], pair.compare) {
		pauseAfter(n)
		rows.text(p.id)
		if len(keys) > 1 {
			rows.text(p.user)
		}
		rows.spent(s.objects[i][p])
		rows.time(now.UnixNano())
	}
	if counted[i] == bill.KindCustomer {
		return step{`INSERT INTO sluice.end_users (user_id, spend, spend_from, created_at, updated_at)
			SELECT v.user_id, v.plain + v.cost, v.start, v.at, v.at FROM v WHERE true ON CONFLICT (user_id) DO UPDATE SET ` +
			customerSet(sqlite), rows}
	}
	var lock string
	var match []string
	for _, k := range keys {
		match = append(match, "e."+k+" = v."+k)
	}
	if !sqlite {
		lock = ", l AS MATERIALIZED (SELECT 1 FROM sluice." + table + " AS e JOIN v ON " + strings.Join(match, " AND ") + " ORDER BY e." +
			strings.Join(keys, ", e.") + " FOR NO KEY UPDATE OF e)"
		match = append(match, "(SELECT count(*) FROM l) >= 0") // the rows are locked before the first is written
	}
	total := ""
	if counted[i] == bill.KindMember {
		total = ", total_spend = e.total_spend + v.total"
	}
	return step{lock + " UPDATE sluice." + table + " AS e SET spend = " + added(sqlite, "e.spend", "e.spend_from") + ", spend_from = " +
		begun(sqlite, "e.spend_from") + total + " FROM v WHERE " + strings.Join(match, " AND "), rows}
}

// customerSet is added and begun where v is what could not be inserted: its sum
// is in excluded.spend, all of it either of a window or of all time.
func customerSet(sqlite bool) string {
	const from = "end_users.spend_from"
	later, wrong := toCome(sqlite, "excluded.spend_from"), toCome(sqlite, from)
	return "spend = CASE WHEN excluded.spend_from IS NULL OR " + from + " IS NULL OR " + from + " = excluded.spend_from OR " + later + " OR " + wrong +
		" THEN end_users.spend + excluded.spend WHEN " + from + " < excluded.spend_from THEN excluded.spend ELSE end_users.spend END," +
		" spend_from = CASE WHEN " + later + " THEN COALESCE(" + from + ", excluded.spend_from) WHEN excluded.spend_from > " + from + " OR " + from +
		" IS NULL OR " + wrong + " THEN COALESCE(excluded.spend_from, " + from + ") ELSE " + from + " END"
}

// spent writes what is added to a sum: plain, cost, total and start.
func (b *block) spent(s *spent) {
	b.int(int64(s.plain))
	b.int(int64(s.cost))
	b.int(int64(s.total))
	if s.start == 0 {
		b.null()
	} else {
		b.time(s.start * 1e9)
	}
}

// windowFields are the key of a budget's window.
var windowFields = []field{{"entity_type", asText}, {"entity_id", asText}, {"window_duration", asText}}

const windowMatch = "w.entity_type = v.entity_type AND w.entity_id = v.entity_id AND w.window_duration = v.window_duration"

func (b *block) account(a account) {
	b.text(a.kind.String())
	b.text(a.id)
	b.text(a.duration)
}

// lockStep locks the windows that are written, in order: whoever takes a lease
// locks its window first, too.
func lockStep(s *sums) step {
	rows := newBlock(false, windowFields...)
	for _, a := range sorted(s.windows, account.compare) {
		rows.account(a)
	}
	return step{"SELECT count(*) FROM (SELECT 1 FROM sluice.budget_windows AS w JOIN v ON " + windowMatch +
		" ORDER BY w.entity_type, w.entity_id, w.window_duration FOR NO KEY UPDATE OF w) AS locked", rows}
}

// leaseStep takes what was spent out of the leases that it was reserved from,
// and returns the places in keys of those that are there. A lease that is not
// was given back: its host was taken for gone.
func leaseStep(sqlite bool, s *sums) (st step, keys []lease) {
	fields := append([]field{{"n", asInt}, {"holder", asText}}, windowFields...)
	rows := newBlock(sqlite, append(fields, field{"cost", asInt})...)
	keys = sorted(s.leases, lease.compare)
	for i, k := range keys {
		rows.int(int64(i))
		rows.text(k.holder)
		rows.account(k.account)
		rows.int(int64(*s.leases[k]))
	}
	st = step{"UPDATE sluice.budget_leases AS w SET amount = w.amount - v.cost FROM v WHERE w.holder = v.holder AND " + windowMatch, rows}
	if !sqlite { // which runs it for each row, and counts
		st.sql += " RETURNING v.n"
	}
	return st, keys
}

// windowStep adds to the windows, and takes out of what hosts hold of them what
// was taken out of leases.
func windowStep(sqlite bool, s *sums, taken map[account]money.Nano) step {
	rows := newBlock(sqlite, append(windowFields[:len(windowFields):len(windowFields)], field{"plain", asInt}, field{"cost", asInt}, field{"total", asInt},
		field{"start", asTime}, field{"leased", asInt})...)
	for _, a := range sorted(s.windows, account.compare) {
		rows.account(a)
		rows.spent(s.windows[a])
		rows.int(int64(taken[a]))
	}
	return step{"UPDATE sluice.budget_windows AS w SET spend = " + added(sqlite, "w.spend", "w.window_start") + ", window_start = " +
		begun(sqlite, "w.window_start") + ", leased = w.leased - v.leased FROM v WHERE " + windowMatch, rows}
}
