package admin

import (
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sluice/proxy/access"
	"sluice/proxy/auth"
)

// permissionRow is one call of testdata/permissions.txt and who may make it.
type permissionRow struct {
	family string
	method string
	target string
	body   string
	cells  map[string]string // caller → a sign for each relation
}

// permissionCallers are the columns of the file.
var permissionCallers = strings.Fields("pa av oa ta tm tp iu iv tk sa bk")

// relation is how a caller stands to the object of a call.
type relation int

const (
	own relation = iota
	sameTeam
	otherTeam
	otherOrganization
	relations
)

func (r relation) String() string {
	return [...]string{"its own", "its team's", "another team's", "another organization's"}[r]
}

// readPermissions reads the file.
func readPermissions(t *testing.T) []permissionRow {
	t.Helper()
	text, err := os.ReadFile("testdata/permissions.txt")
	if err != nil {
		t.Fatal(err)
	}
	var rows []permissionRow
	waiting := 0 // from here on rows have no cells yet
	for i, line := range strings.Split(string(text), "\n") {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] == "#":
		case strings.HasPrefix(line, " "):
			cells := map[string]string{}
			if len(fields) != len(permissionCallers) || waiting == len(rows) {
				t.Fatalf("line %d: %d cells for %d callers, %d calls", i+1, len(fields), len(permissionCallers), len(rows)-waiting)
			}
			for n, name := range permissionCallers {
				if len(fields[n]) != int(relations) || strings.Trim(fields[n], "+-0134.") != "" {
					t.Fatalf("line %d: the cell %q", i+1, fields[n])
				}
				cells[name] = fields[n]
			}
			for ; waiting < len(rows); waiting++ {
				rows[waiting].cells = cells
			}
		default:
			row := permissionRow{family: fields[0], method: fields[1], target: fields[2]}
			if _, body, ok := strings.Cut(line, row.target+" "); ok {
				row.body = body
			}
			rows = append(rows, row)
		}
	}
	if waiting != len(rows) {
		t.Fatalf("%s has no cells", rows[waiting].target)
	}
	return rows
}

// TestPermissions makes every call of the file as every caller about every
// object.
func TestPermissions(t *testing.T) {
	rows := readPermissions(t)
	each(t, func(w *world) {
		p := settled(w)
		for _, row := range rows {
			for _, wrong := range p.row(row) {
				w.Error(wrong)
			}
		}
	}, permissive(t))
}

// row makes one call as all callers about all objects, and tells what came out
// otherwise than the file says.
func (p *permits) row(row permissionRow) (wrong []string) {
	for _, caller := range permissionCallers {
		for rel := range relations {
			sign := row.cells[caller][rel]
			if sign == '.' {
				continue
			}
			if said := p.cell(row, caller, rel, sign); said != "" {
				wrong = append(wrong, said)
			}
		}
	}
	return wrong
}

// cell makes one call; "" where it went as it should.
func (p *permits) cell(row permissionRow, caller string, rel relation, sign byte) string {
	target, body := p.fill(row.target, caller, rel), p.fill(row.body, caller, rel)
	who := p.who(caller, rel, strings.Contains(row.target+row.body, "{team}"))
	before := p.changes()
	var sent any
	if body != "" {
		sent = body
	}
	a := p.callAs(who, row.method, target, sent)
	wrote := p.changes() != before
	if wrote {
		clear(p.made)
	}
	got := ""
	switch {
	case sign == '+' && a.Status/100 != 2:
		got = "refused"
	case sign == '+' && strings.Contains(row.target, "bulk_") && !wrote:
		got = "answered, and nothing done"
	case sign != '+' && wrote:
		got = "carried out"
	case sign == '-' && a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden && a.Status != http.StatusNotFound,
		sign >= '0' && sign <= '4' && a.Status != 400+int(sign-'0'):
		got = "answered otherwise"
	case row.method == http.MethodGet && wrote:
		got = "a read that wrote"
	}
	if got == "" {
		return ""
	}
	return row.method + " " + row.target + " " + row.body + " as " + caller + " about " + rel.String() + ", want " + string(sign) + ": " + got +
		": " + strconv.Itoa(a.Status) + " " + string(a.Raw)
}

var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

// fill puts ids into a text with placeholders.
func (p *permits) fill(text, caller string, rel relation) string {
	return placeholder.ReplaceAllStringFunc(text, func(name string) string {
		return p.object(strings.Trim(name, "{}"), caller, rel)
	})
}

// who is the caller: a team's keys are those of the team that the call is about.
func (p *permits) who(caller string, rel relation, ofTeam bool) *auth.Identity {
	if ofTeam && rel == sameTeam && (caller == "tk" || caller == "sa") {
		return p.caller(caller + "@" + p.object("team", caller, rel))
	}
	if p.known[caller] == nil {
		p.known[caller] = p.caller(caller)
	}
	return p.known[caller]
}

// TestPermissionsCoverRoutes: a route that no line of the file is about is not
// proven, so there is none. What needs no line is public, or package server's.
func TestPermissionsCoverRoutes(t *testing.T) {
	covered := map[string]bool{}
	for _, row := range readPermissions(t) {
		path, _, _ := strings.Cut(placeholder.ReplaceAllString(row.target, "x"), "?")
		if r, _ := routeOf(row.method, path); r != nil {
			covered[r.Method+" "+r.Path] = true
		} else {
			t.Errorf("%s %s is no route", row.method, row.target)
		}
	}
	missing := uncovered(access.Routes(), covered)
	if len(missing) > 0 {
		t.Errorf("routes without an expectation in testdata/permissions.txt: %s", strings.Join(missing, ", "))
	}
	extra := append(access.Routes(), access.Route{Method: "POST", Path: "/key/new_one"})
	if got := uncovered(extra, covered); len(got) != len(missing)+1 {
		t.Errorf("a route more is not missed: %v", got)
	}
}

func uncovered(routes []access.Route, covered map[string]bool) (missing []string) {
	for _, r := range routes {
		if name := r.Method + " " + r.Path; !r.Edge && !r.Public && r.Later == "" && !covered[name] {
			missing = append(missing, name)
		}
	}
	return missing
}

// TestPermissionsEdgeAndPublic names what package server serves by itself and
// what asks for no key: a route more of either is a decision.
func TestPermissionsEdgeAndPublic(t *testing.T) {
	const want = `/v1/chat/completions /chat/completions /engines/{model}/chat/completions /openai/deployments/{model}/chat/completions
		/v1/models /v1/models/{model} /models /models/{model}
		/health/liveliness! /health/liveness! /health/readiness! /health /health/backlog /metrics! /metrics/! /!
		OPTIONS/health/liveliness! OPTIONS/health/liveness! OPTIONS/health/readiness! OPTIONS/health! /openapi.json! /docs!`
	var got []string
	for _, r := range access.Routes() {
		name := r.Path
		if r.Method == "OPTIONS" {
			name = "OPTIONS" + name
		}
		if r.Public {
			name += "!"
		}
		if r.Edge || r.Public {
			got = append(got, name)
		}
		if r.Later != "" && (r.Edge || r.Public) {
			t.Errorf("%s is for later and open", r.Path)
		}
	}
	if have := strings.Join(got, " "); have != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got %s", have)
	}
}
