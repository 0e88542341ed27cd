package litellm

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"sluice/proxy/identity"
	"sluice/proxy/money"
)

// What the store takes, in bytes: names and ids, and JSON documents.
const (
	longestName     = 1024
	longestDocument = 1 << 20
)

// dashboardTeam owns the keys that LiteLLM's dashboard makes for its sessions.
const dashboardTeam = "litellm-dashboard"

// row is a row that is being converted: where it stands, for reports.
type row struct {
	c     *Converter
	table string
	id    string
}

func (r *row) skip(reason string)    { r.c.Sink.Skip(r.table, clip(r.id), reason) }
func (r *row) report(problem string) { r.c.Sink.Report(r.table, clip(r.id), problem) }

// clip shortens what is shown of an id.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// converting wraps a conversion: the document is valid UTF-8 and decoded into a
// new T; a row that cannot be read is skipped.
func converting[T any](table string, id func(*T) string, convert func(r *row, t *T) error) func(*Converter, []byte) error {
	return func(c *Converter, doc []byte) error {
		if !utf8.Valid(doc) {
			doc = []byte(strings.ToValidUTF8(string(doc), "\uFFFD"))
		}
		t := new(T)
		problem := decode(doc, t)
		r := &row{c: c, table: table, id: id(t)}
		if problem != "" {
			r.skip(problem)
			return nil
		}
		return convert(r, t)
	}
}

// ids reports whether the parts of a key can be ours too; a row whose cannot is
// skipped.
func (r *row) ids(parts ...text) bool {
	for _, p := range parts {
		if p == "" {
			r.skip("a part of its key is empty")
			return false
		}
		if len(p) > longestName {
			r.skip("its key is longer than 1024 bytes")
			return false
		}
	}
	return true
}

// name is a text that is looked for by its column. One that is too long for an
// index is left out.
func (r *row) name(column string, t text) string {
	if len(t) > longestName {
		r.report(column + " is longer than 1024 bytes and was left out")
		return ""
	}
	return string(t)
}

// reference is the id of another object. One that is too long refers to what was
// not taken.
func (r *row) reference(column string, t text) string { return r.name(column, t) }

// spent is an amount that was spent: what is none is taken as 0.
func (r *row) spent(column string, a amount) money.Nano {
	switch a.odd {
	case "":
		return a.value
	case oddLarge:
		r.report(column + " " + a.odd + " and was taken as the most that can be")
		return math.MaxInt64
	}
	r.report(column + " " + a.odd + " and was taken as 0")
	return 0
}

// limit is a most that may be spent; nil is no limit. LiteLLM compares with it,
// so that nothing can be above infinity or what is not a number, and everything
// is above what is negative.
func (r *row) limit(column string, a amount) *money.Nano {
	none := money.Nano(0)
	switch {
	case a.odd == "" && !a.given:
		return nil
	case a.odd == "":
		return &a.value
	case a.odd == oddLarge, a.odd == oddInfinite && a.value == 0, a.odd == oddNaN:
		r.report(column + " " + a.odd + " and was taken as no limit, as it has been there")
		return nil
	case a.odd == oddSyntax:
		r.report(column + " " + a.odd + " and was taken as 0")
	default:
		r.report(column + " " + a.odd + ", which allows nothing, and was taken as 0")
	}
	return &none
}

// most is a whole number that limits something. One below zero allows nothing.
func (r *row) most(column string, n count) *int64 {
	if n.given && n.value < 0 {
		r.report(column + " is negative, which allows nothing, and was taken as 0")
		n.value = 0
	}
	return n.pointer()
}

// object is a column that should be an object.
func (r *row) object(column string, o object) identity.Fields {
	size := 2
	for name, v := range o.fields {
		size += len(name) + len(v) + 8
	}
	switch {
	case o.odd:
		r.report(column + " is no object and was left out")
	case size > longestDocument:
		r.report(column + " is larger than 1 MiB and was left out")
	default:
		return o.fields
	}
	return nil
}

// texts is a column that should be an object of texts.
func (r *row) texts(column string, o object) map[string]string {
	fields := r.object(column, o)
	if len(fields) == 0 {
		return nil
	}
	out := make(map[string]string, len(fields))
	for name, v := range fields {
		var value string
		if json.Unmarshal(v, &value) != nil {
			r.report(column + " has a value that is no text, which was left out")
			continue
		}
		out[name] = value
	}
	return out
}

// names is a column that is a list of texts.
func (r *row) names(column string, l list) []string {
	size := 2
	for _, s := range l {
		size += len(s) + 8
	}
	if size > longestDocument {
		r.report(column + " is larger than 1 MiB and was left out")
		return nil
	}
	return l
}

// keep puts a document among the settings.
func (r *row) keep(settings *identity.Fields, name string, v raw) {
	if len(v) > longestDocument {
		r.report(name + " is larger than 1 MiB and was left out")
		return
	}
	put(settings, name, json.RawMessage(v))
}

// keepFields puts an object among the settings.
func (r *row) keepFields(settings *identity.Fields, name string, o object) {
	if f := r.object(name, o); len(f) > 0 {
		put(settings, name, quoted(f))
	}
}

// fits makes the settings small enough to be stored, in the worst case by leaving
// out the largest of them.
func (r *row) fits(settings identity.Fields) identity.Fields {
	size := func() (n int) {
		for name, v := range settings {
			n += len(name) + len(v) + 8
		}
		return n
	}
	for size() > longestDocument {
		names := slices.SortedFunc(maps.Keys(settings), func(a, b string) int { return len(settings[b]) - len(settings[a]) })
		r.report(names[0] + " does not fit into the settings and was left out")
		delete(settings, names[0])
	}
	return settings
}

// trail is who made and changed a row, and when.
type trail struct {
	CreatedAt moment `json:"created_at"`
	CreatedBy text   `json:"created_by"`
	UpdatedAt moment `json:"updated_at"`
	UpdatedBy text   `json:"updated_by"`
}

func (r *row) stamp(t *trail) identity.Stamp {
	s := identity.Stamp{
		CreatedAt: t.CreatedAt.at, CreatedBy: r.name("created_by", t.CreatedBy), UpdatedAt: t.UpdatedAt.at, UpdatedBy: r.name("updated_by", t.UpdatedBy),
	}
	if !t.UpdatedAt.given {
		s.UpdatedAt = s.CreatedAt
	}
	if s.UpdatedBy == "" {
		s.UpdatedBy = s.CreatedBy
	}
	return s
}

// caps are the limits that most tables carry.
type caps struct {
	MaxBudget           amount `json:"max_budget"`
	SoftBudget          amount `json:"soft_budget"`
	BudgetDuration      text   `json:"budget_duration"`
	BudgetResetAt       moment `json:"budget_reset_at"`
	MaxParallelRequests count  `json:"max_parallel_requests"`
	TPMLimit            count  `json:"tpm_limit"`
	RPMLimit            count  `json:"rpm_limit"`
}

func (r *row) caps(c *caps) identity.Caps {
	return identity.Caps{
		MaxBudget: r.limit("max_budget", c.MaxBudget), SoftBudget: r.limit("soft_budget", c.SoftBudget),
		BudgetDuration: r.name("budget_duration", c.BudgetDuration), BudgetResetAt: c.BudgetResetAt.pointer(),
		MaxParallelRequests: r.most("max_parallel_requests", c.MaxParallelRequests),
		TPMLimit:            r.most("tpm_limit", c.TPMLimit), RPMLimit: r.most("rpm_limit", c.RPMLimit),
	}
}

// permission is what an object may use besides models, joined from a table of
// its own.
type permission struct {
	ID     text   `json:"object_permission_id"`
	Object object `json:"object_permission"`
}

func (r *row) permission(settings *identity.Fields, p *permission) {
	if p.ID == "" {
		return
	}
	id := r.reference("object_permission_id", p.ID)
	if id == "" {
		return
	}
	fields := r.object("object_permission", p.Object)
	if fields == nil {
		r.report("object_permission_id names what does not exist")
		return
	}
	put(settings, "object_permission_id", quoted(id))
	put(settings, "object_permission", quoted(fields))
}

// after is whether a moment is still to come.
func (r *row) after(m moment) bool { return m.given && m.at.After(r.c.Now) }
