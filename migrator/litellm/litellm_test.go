package litellm

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/nacl/secretbox"

	"sluice/internal/env"
	"sluice/proxy/identity"
	"sluice/proxy/money"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

const (
	oldSalt = "sk-salt-of-litellm-0123456789abcdef"
	newSalt = "sk-salt-of-here-0123456789abcdefgh"
	canary  = "sk-canary-5f0e7b1c"
)

var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// sink keeps what comes out.
type sink struct {
	objects   []identity.Object
	documents map[string]string // table/id
	daily     []store.DailySpend
	windows   []store.BudgetWindow
	logs      []store.SpendLog
	skips     []string // table id: reason
	reports   []string
}

func (s *sink) Object(o identity.Object) error {
	s.objects = append(s.objects, o)
	return nil
}

func (s *sink) Document(table, id string, doc []byte) error {
	if s.documents == nil {
		s.documents = map[string]string{}
	}
	s.documents[table+"/"+id] = string(doc)
	return nil
}

func (s *sink) Daily(d store.DailySpend) error {
	s.daily = append(s.daily, d)
	return nil
}

func (s *sink) Window(w store.BudgetWindow) error {
	s.windows = append(s.windows, w)
	return nil
}

func (s *sink) SpendLog(l store.SpendLog) error {
	s.logs = append(s.logs, l)
	return nil
}

func (s *sink) Skip(table, id, reason string) { s.skips = append(s.skips, table+" "+id+": "+reason) }

func (s *sink) Report(table, id, problem string) {
	s.reports = append(s.reports, table+" "+id+": "+problem)
}

// told reports whether something like this was reported or skipped.
func (s *sink) told(part string) bool {
	return slices.ContainsFunc(slices.Concat(s.skips, s.reports), func(line string) bool { return strings.Contains(line, part) })
}

func ring(t testing.TB, salt env.Secret) *seal.Ring {
	t.Helper()
	r, err := seal.New(salt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func converter(t testing.TB) (*Converter, *sink) {
	t.Helper()
	old, s := ring(t, oldSalt), &sink{}
	return &Converter{Sink: s, Ring: ring(t, newSalt), Now: testNow, Open: func(text string) (string, bool, error) {
		if !seal.Sealed(text) {
			return text, false, nil
		}
		plain, err := old.Open("", text)
		return plain, true, err
	}}, s
}

// boxed encrypts as LiteLLM does.
func boxed(t testing.TB, salt, plain string) string {
	t.Helper()
	key := sha256.Sum256([]byte(salt))
	var nonce [24]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		t.Fatal(err)
	}
	return base64.URLEncoding.EncodeToString(secretbox.Seal(nonce[:], []byte(plain), &nonce, &key))
}

func tableNamed(t testing.TB, name string) Table {
	t.Helper()
	for _, table := range Tables() {
		if table.Name == name {
			return table
		}
	}
	t.Fatalf("there is no table %s", name)
	return Table{}
}

// convert converts one document of a table.
func convert(t testing.TB, table, doc string) *sink {
	t.Helper()
	if !json.Valid([]byte(doc)) {
		t.Fatalf("the test's document is no JSON: %s", doc)
	}
	c, s := converter(t)
	if err := tableNamed(t, table).Convert(c, []byte(doc)); err != nil {
		t.Fatalf("%s: %v", table, err)
	}
	return s
}

// only1 is the one object that came out.
func only1[T identity.Object](t testing.TB, s *sink) T {
	t.Helper()
	if len(s.objects) != 1 {
		t.Fatalf("%d objects, skipped %q, reported %q", len(s.objects), s.skips, s.reports)
	}
	o, ok := s.objects[0].(T)
	if !ok {
		t.Fatalf("a %T came out", s.objects[0])
	}
	return o
}

func dollars(t testing.TB, text string) *money.Nano {
	t.Helper()
	n, err := money.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return &n
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\n got %+v\nwant %+v", what, got, want)
	}
}

// published are the tables of LiteLLM 1.106.2, and its history of migrations.
const published = `AccessGroupTable AdaptiveRouterSession AdaptiveRouterState AgentIdentity AgentsTable AuditLog
	AutoRouterBaselineComparison AutoRouterBaselineObservation AutoRouterDailySpend AutoRouterSession AutoRouterUserSession
	BackgroundInteractionSettlement BudgetTable BudgetWindowSpend CacheConfig ClaudeCodePluginTable Config ConfigOverrides
	CredentialsTable CronJob DailyAgentSpend DailyEndUserSpend DailyGatewayRequests DailyGlobalSpend DailyGuardrailMetrics
	DailyGuardrailUsageUnits DailyModelUsage DailyOrganizationSpend DailyPolicyMetrics DailyTagSpend DailyTeamSpend DailyToolSpend
	DailyUserSpend DeletedTeamTable DeletedVerificationToken DeprecatedVerificationToken EndUserTable ErrorLogs GuardrailsTable
	HealthCheckTable InvitationLink JWTKeyMapping Lens LensDataset LensIngestionKey LensReview LensRun LensSignalConfig
	LensTraceSignal LensWorker MCPServerOAuthClient MCPServerTable MCPToolsetTable MCPUserCredentials MCPUserEnvVars
	ManagedFileContentTable ManagedFileTable ManagedObjectTable ManagedVectorStoreIndexTable ManagedVectorStoreTable
	ManagedVectorStoresTable MemoryTable ModelAccessGroupBudgetTable ModelTable ObjectPermissionTable OrganizationMembership
	OrganizationTable PolicyAttachmentTable PolicyTable ProjectTable PromptTable ProxyModelTable ProxyWorkerHeartbeat RetiredAgent
	RetiredAgentIdentity SSOConfig SSOIdentityAssertion SearchToolsTable ShadowEvalAttempt ShadowEvalFunnel ShadowEvalJob
	SkillsTable SpendLogGuardrailIndex SpendLogToolIndex SpendLogs TagTable TeamMembership TeamTable ToolTable UISettings
	UserNotifications UserTable VerificationToken VerifiedSubject WorkflowEvent WorkflowMessage WorkflowRun`

// TestEveryTable: each table is taken, kept or left for a reason, once.
func TestEveryTable(t *testing.T) {
	names := strings.Fields(published)
	if len(names) != 97 {
		t.Fatalf("%d tables are published", len(names))
	}
	read, seen := map[string]bool{}, map[string]bool{}
	for _, table := range Tables() {
		if seen[table.Name] {
			t.Errorf("%s is there twice", table.Name)
		}
		seen[table.Name], read[table.Reads()] = true, true
		switch {
		case table.Left != "" && (table.From != nil || table.Convert != nil || strings.HasSuffix(table.Left, ".")):
			t.Errorf("%s is left, and more is said of it", table.Name)
		case table.Left == "" && (table.From == nil || table.Convert == nil || len(table.Key) == 0):
			t.Errorf("%s cannot be read", table.Name)
		}
	}
	for _, name := range names {
		if !read["LiteLLM_"+name] {
			t.Errorf("nothing is said of LiteLLM_%s", name)
		}
		delete(read, "LiteLLM_"+name)
	}
	delete(read, "_prisma_migrations")
	if len(read) > 0 {
		t.Errorf("LiteLLM has no tables %v", read)
	}
}

// TestOrder: what others refer to comes before them.
func TestOrder(t *testing.T) {
	place := map[string]int{}
	for i, table := range Tables() {
		place[table.Name] = i
	}
	for _, order := range [][]string{
		{tableBudgets, tableOrgs, tableUsers, tableTeams, tableOrgMembers, tableKeys},
		{tableTeams, tableProjects, tableKeys, tableRetired, tableMappings},
	} {
		for i := 1; i < len(order); i++ {
			if place[order[i-1]] >= place[order[i]] {
				t.Errorf("%s comes after %s", order[i-1], order[i])
			}
		}
	}
}

// TestUnreadable: a row of other types is skipped, and what is told of it holds
// nothing of it.
func TestUnreadable(t *testing.T) {
	for _, table := range Tables() {
		if table.Convert == nil {
			continue
		}
		for _, doc := range []string{`[]`, `"` + canary + `"`, `17`, `null`, `{}`, `{"token":{},"spend":{"` + canary + `":1}}`} {
			c, s := converter(t)
			if err := table.Convert(c, []byte(doc)); err != nil {
				t.Errorf("%s %s: %v", table.Name, doc, err)
			}
			if s.told(canary) {
				t.Errorf("%s tells of the row: %q %q", table.Name, s.skips, s.reports)
			}
			if len(s.objects)+len(s.documents)+len(s.daily)+len(s.windows)+len(s.logs) > 0 {
				t.Errorf("%s makes something of %s: %+v", table.Name, doc, s)
			}
		}
	}
}

// TestAmounts: money is what PostgreSQL shows of a double, to the nano-dollar,
// half to even; what is no amount is told.
func TestAmounts(t *testing.T) {
	for _, c := range []struct{ doc, spend, limit, told string }{
		{`0`, "0", "0", ""},
		{`0.1`, "0.1", "0.1", ""},
		{`1e-9`, "0.000000001", "0.000000001", ""},
		{`5e-10`, "0", "0", ""},        // half, to even
		{`1.5e-9`, "2e-9", "2e-9", ""}, // half, to even
		{`2.5000000001e-9`, "3e-9", "3e-9", ""},
		{`0.30000000000000004`, "0.3", "0.3", ""},
		{`123456.789`, "123456.789", "123456.789", ""},
		{`null`, "0", "none", ""},
		{`"NaN"`, "0", "none", "is not a number"},
		{`"Infinity"`, "0", "none", "is infinite"},
		{`"-Infinity"`, "0", "0", "is infinite"},
		{`-0.5`, "0", "0", "is negative"},
		{`-1e300`, "0", "0", "is negative"},
		{`1e300`, "9223372036.854775807", "none", "is more than can be counted"},
		{`"what"`, "0", "0", "is no number"},
	} {
		s := convert(t, tableKeys, `{"token":"`+strings.Repeat("a", 64)+`","models":[],"spend":`+c.doc+`,"max_budget":`+c.doc+`}`)
		k := only1[*identity.Key](t, s)
		if want := *dollars(t, c.spend); k.Spend != want {
			t.Errorf("spend %s became %s, want %s", c.doc, k.Spend, want)
		}
		switch {
		case c.limit == "none" && k.MaxBudget != nil:
			t.Errorf("max_budget %s became %s", c.doc, k.MaxBudget)
		case c.limit != "none" && (k.MaxBudget == nil || *k.MaxBudget != *dollars(t, c.limit)):
			t.Errorf("max_budget %s became %v, want %s", c.doc, k.MaxBudget, c.limit)
		}
		if c.told == "" && len(s.reports) > 0 || c.told != "" && (!s.told("spend "+c.told) || !s.told("max_budget "+c.told)) {
			t.Errorf("%s: reported %q", c.doc, s.reports)
		}
	}
}

func TestMoments(t *testing.T) {
	for doc, want := range map[string]string{
		`"2026-11-21T07:19:08.786"`:       "2026-11-21T07:19:08.786Z",
		`"2026-11-21T07:19:08"`:           "2026-11-21T07:19:08Z",
		`"2026-11-21T09:19:08.5+02:00"`:   "2026-11-21T07:19:08.5Z",
		`"2026-11-21T07:19:08.123456Z"`:   "2026-11-21T07:19:08.123456Z",
		`"-infinity"`:                     "1970-01-01T00:00:00Z",
		`"0044-03-15T00:00:00 BC"`:        "1970-01-01T00:00:00Z",
		`"infinity"`:                      "never",
		`"20000-01-01T00:00:00"`:          "never",
		`null`:                            "never",
		`"2026-11-21T07:19:08.786-00:30"`: "2026-11-21T07:49:08.786Z",
	} {
		s := convert(t, tableKeys, `{"token":"`+strings.Repeat("a", 64)+`","models":[],"spend":0,"expires":`+doc+`}`)
		k, got := only1[*identity.Key](t, s), "never"
		if k.Expires != nil {
			got = k.Expires.Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%s became %s, want %s", doc, got, want)
		}
	}
	if s := convert(t, tableKeys, `{"token":"`+strings.Repeat("a", 64)+`","models":[],"spend":0,"expires":"soon"}`); len(s.objects) > 0 {
		t.Error("a key whose end cannot be read is taken")
	}
}

// TestSinkFails: an error of the sink ends the conversion.
func TestSinkFails(t *testing.T) {
	c, _ := converter(t)
	c.Sink = failing{}
	docs := map[string]string{
		tableKeys:                  `{"token":"` + strings.Repeat("a", 64) + `","models":[],"spend":0}`,
		tableTeams:                 `{"team_id":"t"}`,
		"LiteLLM_GuardrailsTable":  `{"guardrail_id":"g"}`,
		"LiteLLM_DailyUserSpend":   `{"id":"d","date":"2026-01-01"}`,
		tableWindows:               `{"entity_type":"key","entity_id":"k","window_duration":"1d","window_start":"2026-01-01T00:00:00"}`,
		tableSpendLogs:             `{"request_id":"r","startTime":"2026-01-01T00:00:00"}`,
		"LiteLLM_CredentialsTable": `{"credential_id":"c","credential_name":"n","credential_values":{}}`,
	}
	for name, doc := range docs {
		if err := tableNamed(t, name).Convert(c, []byte(doc)); !errors.Is(err, errSink) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var errSink = errors.New("the sink is full")

// failing is a sink that takes nothing.
type failing struct{}

func (failing) Object(identity.Object) error          { return errSink }
func (failing) Document(string, string, []byte) error { return errSink }
func (failing) Daily(store.DailySpend) error          { return errSink }
func (failing) Window(store.BudgetWindow) error       { return errSink }
func (failing) SpendLog(store.SpendLog) error         { return errSink }
func (failing) Skip(string, string, string)           {}
func (failing) Report(string, string, string)         {}
