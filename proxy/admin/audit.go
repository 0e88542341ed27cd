package admin

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
	"sluice/proxy/money"
	"sluice/proxy/store"
)

// auditHandlers are the handlers of proxy/access/audit.go.
func auditHandlers() map[string]handler {
	return map[string]handler{
		"GET /audit":        (*API).listChanges,
		"GET /audit/export": (*API).exportChanges,
		"GET /audit/{id}":   (*API).oneChange,
	}
}

// auditNames are LiteLLM's names of the tables.
var auditNames = map[identity.Kind]string{
	identity.KindKey: "LiteLLM_VerificationToken", identity.KindRetiredKey: "LiteLLM_DeprecatedVerificationToken",
	identity.KindUser: "LiteLLM_UserTable", identity.KindTeam: "LiteLLM_TeamTable", identity.KindMember: "LiteLLM_TeamMembership",
	identity.KindOrganization: "LiteLLM_OrganizationTable", identity.KindOrganizationMember: "LiteLLM_OrganizationMembership",
	identity.KindProject: "LiteLLM_ProjectTable", identity.KindEndUser: "LiteLLM_EndUserTable", identity.KindBudget: "LiteLLM_BudgetTable",
	identity.KindTag: "LiteLLM_TagTable", identity.KindAccessGroup: "LiteLLM_AccessGroupTable", identity.KindModel: "LiteLLM_ProxyModelTable",
	identity.KindCredential: "LiteLLM_CredentialsTable", identity.KindConfig: "LiteLLM_Config", identity.KindInvitation: "LiteLLM_InvitationLink",
	identity.KindJWTMapping: "LiteLLM_JWTKeyMapping",
}

// auditRow is one change. What follows the values is Sluice's own: what the
// caller said about itself, where it called from, why, and the row's place in
// the chain. chain_mac is a code in hex, under the sealing key chain_key; both
// are null while a row of an older release waits to be chained.
type auditRow struct {
	ID              string          `json:"id"`
	UpdatedAt       isoZ            `json:"updated_at"`
	ChangedBy       string          `json:"changed_by"`
	ChangedByAPIKey string          `json:"changed_by_api_key"`
	Action          string          `json:"action"`
	TableName       string          `json:"table_name"`
	ObjectID        string          `json:"object_id"`
	BeforeValue     json.RawMessage `json:"before_value"`
	UpdatedValues   json.RawMessage `json:"updated_values"`

	ClaimedBy *string `json:"claimed_by"`
	Source    *string `json:"source"`
	RequestID *string `json:"request_id"`
	Host      *string `json:"host"`
	Reason    *string `json:"reason"`
	Number    int64   `json:"number"`
	ChainKey  *string `json:"chain_key"`
	ChainMAC  *string `json:"chain_mac"`
}

// auditPage is one page of changes.
type auditPage struct {
	AuditLogs  []auditRow `json:"audit_logs"`
	Total      int        `json:"total"`
	Page       int        `json:"page"`
	PageSize   int        `json:"page_size"`
	TotalPages int        `json:"total_pages"`
}

func auditOf(ch *store.Change) auditRow {
	row := auditRow{
		ID: strconv.FormatInt(ch.Number, 10), UpdatedAt: isoZ(ch.At), ChangedBy: ch.Actor.User, ChangedByAPIKey: ch.Actor.Key,
		Action: string(ch.Action), TableName: cmp.Or(auditNames[ch.Kind], ch.KindNamed), ObjectID: ch.ID, BeforeValue: recorded(ch.Kind, ch.Before), UpdatedValues: recorded(ch.Kind, ch.After),
		ClaimedBy: null(ch.Actor.Claimed), Source: null(ch.Actor.Source), RequestID: null(ch.Actor.RequestID), Host: null(ch.Host), Reason: null(ch.Actor.Reason),
		Number: ch.Number, ChainKey: null(ch.ChainKey), ChainMAC: null(hex.EncodeToString(ch.MAC)),
	}
	if ch.Kind == identity.KindInvitation {
		// Its id is what sets a password: who reads the record must not get it.
		row.ObjectID = covered(ch.ID)
	}
	return row
}

func covered(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// amounts are the columns that the record keeps in nano-dollars.
var amounts = []string{"max_budget", "soft_budget", "spend", "total_spend"}

// recorded is an object of the record as the API tells it: amounts in dollars. nil
// stays nil, which is null.
func recorded(kind identity.Kind, doc json.RawMessage) json.RawMessage {
	var f identity.Fields
	if json.Unmarshal(doc, &f) != nil || f == nil {
		return nil
	}
	for _, name := range amounts {
		var n *int64
		if raw, ok := f[name]; ok && json.Unmarshal(raw, &n) == nil && n != nil {
			f[name] = quoted(money.Nano(*n))
		}
	}
	if kind == identity.KindInvitation {
		f["invitation_id"] = quoted(covered(text(f["invitation_id"])))
	}
	return quoted(f)
}

// auditKinds are the sorts that a table name stands for; none for a name that
// is not known.
func auditKinds(name string) []identity.Kind {
	for kind, known := range auditNames {
		if strings.EqualFold(name, known) || strings.EqualFold(name, kind.String()) {
			return []identity.Kind{kind}
		}
	}
	switch kind := identity.KindNamed(strings.ToLower(name)); kind {
	case identity.KindSealingKey, identity.KindImport, identity.KindArchive:
		return []identity.Kind{kind}
	default:
		return nil
	}
}

// moment is a time of the query; a date alone is its first moment.
func (c *Call) moment(name string) (at time.Time, date bool) {
	raw, broken := checkTime(quoted(c.Arg(name)), nil)
	if broken != nil || json.Unmarshal(raw, &at) != nil {
		return time.Time{}, false
	}
	return at, len(strings.TrimSpace(c.Arg(name))) == len(time.DateOnly)
}

// auditFilter is what the query asks for; ok is false where nothing can be.
func (c *Call) auditFilter() (f store.ChangeFilter, ok bool) {
	f = store.ChangeFilter{
		Actor: c.Arg("changed_by"), Claimed: c.Arg("claimed_by"), Key: c.Arg("changed_by_api_key"), Action: store.Action(c.Arg("action")),
		ID: c.Arg("object_id"), Team: c.Arg("object_team_id"), Token: c.Arg("object_key_hash"), Request: c.Arg("request_id"),
		Source: c.Arg("source"), Any: c.Arg("search"),
	}
	if name := c.Arg("table_name"); name != "" {
		if f.Kinds = auditKinds(name); f.Kinds == nil {
			return f, false
		}
	}
	f.From, _ = c.moment("start_date")
	to, date := c.moment("end_date")
	if date {
		to = to.AddDate(0, 0, 1).Add(-time.Microsecond)
	}
	f.To = to
	return f, true
}

func (a *API) listChanges(c *Call) (any, *llm.Error) {
	out := auditPage{AuditLogs: []auditRow{}, Page: c.ArgInt("page", 1), PageSize: c.ArgInt("page_size", 10)}
	f, ok := c.auditFilter()
	if !ok {
		return out, nil
	}
	f.Oldest, f.Limit, f.Offset = c.Arg("sort_order") == "asc", out.PageSize, (out.Page-1)*out.PageSize
	changes, total, err := a.c.Store.Changes(c.Ctx, f)
	if err != nil {
		return nil, a.failed(err)
	}
	for i := range changes {
		out.AuditLogs = append(out.AuditLogs, auditOf(&changes[i]))
	}
	out.Total, out.TotalPages = total, pages(total, out.PageSize)
	return out, nil
}

func (a *API) oneChange(c *Call) (any, *llm.Error) {
	absent := notFound(fmt.Sprintf("There is no change with the id %q.", c.Params["id"]), "id")
	number, err := strconv.ParseInt(c.Params["id"], 10, 64)
	if err != nil || number < 1 {
		return nil, absent
	}
	changes, _, err := a.c.Store.Changes(c.Ctx, store.ChangeFilter{Number: number, Limit: 1})
	if err != nil {
		return nil, a.failed(err)
	}
	if len(changes) == 0 {
		return nil, absent
	}
	return auditOf(&changes[0]), nil
}
