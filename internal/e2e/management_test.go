//go:build e2e

package e2e

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sluice/internal/postgres/pgtest"
)

// step is one management call of a story that a LiteLLM proxy was told, in
// order: who asked what, what is remembered of the answer, and the answer's
// status and shape. A shape has JSON kinds instead of values; several kinds
// that a field was seen with are joined by "|"; a list has one shape for all
// of its objects.
type step struct {
	Name   string
	As     string // "master", or a name that an earlier step saved a key under
	Do     string // method and path; {name} is what was saved
	Body   json.RawMessage
	Save   map[string]string // name → field of the answer
	Status int
	Shape  any
}

//go:embed testdata/management.json
var managementStory []byte

// managementConfig is the configuration of the recording.
const managementConfig = `model_list:
  - model_name: mock
    litellm_params: {model: openai/gpt-4o, mock_response: hi}
  - model_name: gpt-4o-mini
    litellm_params: {model: openai/gpt-4o-mini, mock_response: hi}
general_settings:
  master_key: ` + MasterKey + `
  store_model_in_db: true
`

// TestManagement tells the story to an appliance on each database and compares
// status, envelope, fields and the JSON kind of each field.
func TestManagement(t *testing.T) {
	var story []step
	if err := json.Unmarshal(managementStory, &story); err != nil {
		t.Fatal(err)
	}
	if len(acceptedManagement) > 40 {
		t.Errorf("%d rows of accepted differences, 40 are allowed", len(acceptedManagement))
	}
	used := make([]bool, len(acceptedManagement))
	for _, database := range []string{"postgres", "sqlite"} {
		t.Run(database, func(t *testing.T) {
			env := map[string]string{}
			if database == "postgres" {
				env["DATABASE_URL"] = pgtest.Database(t)
			}
			tell(t, boot(t, Options{Config: managementConfig, Env: env}), story, used)
		})
	}
	for i, x := range acceptedManagement {
		if !used[i] {
			t.Errorf("accepted difference %q of %q does not occur; take it off the table", x.diff, x.cases)
		}
	}
}

func tell(t *testing.T, a *Appliance, story []step, used []bool) {
	t.Helper()
	saved := map[string]string{"who_wrong": "sk-this-key-is-nobodys-0000"}
	differing := 0
	for _, s := range story {
		var oldnew []string
		for name, value := range saved {
			oldnew = append(oldnew, "{"+name+"}", value)
		}
		fill := strings.NewReplacer(oldnew...)
		key := a.Key
		if s.As != "master" {
			key = saved[s.As]
		}
		header := map[string]string{"Authorization": "Bearer " + key}
		if s.Body != nil {
			header["Content-Type"] = "application/json"
		}
		method, target, _ := strings.Cut(s.Do, " ")
		r, err := a.Do(method, fill.Replace(target), fill.Replace(string(s.Body)), header)
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		var body any
		if err := json.Unmarshal(r.Body, &body); err != nil {
			body = string(r.Body)
		}
		for name, field := range s.Save {
			if o, ok := body.(map[string]any); ok {
				saved[name], _ = o[field].(string)
			}
		}
		var d []string
		if r.Status != s.Status {
			d = append(d, fmt.Sprintf("status %d, recorded %d", r.Status, s.Status))
		}
		d = append(d, differ("", s.Shape, body)...)
		if len(d) > 0 {
			differing++
		}
		if left := unacceptedManagement(s.Name, d, used); len(left) > 0 {
			t.Errorf("%s (%s as %s):\n  %s\n  %.300s", s.Name, s.Do, s.As, strings.Join(left, "\n  "), r.Body)
		}
	}
	t.Logf("show 1: %d calls told, %d with accepted differences", len(story), differing)
}

func unacceptedManagement(name string, diffs []string, used []bool) []string {
	var left []string
	for _, d := range diffs {
		ok := false
		for i, x := range acceptedManagement {
			if matchesAny(x.cases, name) && glob(x.diff, d) {
				ok, used[i] = true, true
			}
		}
		if !ok {
			left = append(left, d)
		}
	}
	return left
}

// differ lists how a value differs from a shape, one line each. Fields of
// objects inside a list are compared over all objects of it.
func differ(at string, shape, value any) []string {
	switch want := shape.(type) {
	case map[string]any:
		got, ok := value.(map[string]any)
		if !ok {
			if kinds, _ := want["|"].(string); kinds != "" && allows(kinds, kindOf(value)) {
				return nil
			}
			return []string{fmt.Sprintf("%s is %s, recorded object", name(at), kindOf(value))}
		}
		return differObject(at, want, got)
	case []any:
		got, ok := value.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %s, recorded array", name(at), kindOf(value))}
		}
		return differList(at, want, got)
	case string:
		if k := kindOf(value); !allows(want, k) {
			return []string{fmt.Sprintf("%s is %s, recorded %s", name(at), k, want)}
		}
	}
	return nil
}

func differObject(at string, want, got map[string]any) []string {
	var d []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if k == "|" {
			continue
		}
		v, ok := got[k]
		if !ok {
			d = append(d, name(at+"."+k)+" is missing")
			continue
		}
		d = append(d, differ(at+"."+k, want[k], v)...)
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			d = append(d, name(at+"."+k)+" was not recorded")
		}
	}
	return d
}

// differList holds each element against the shape of the list's elements. A
// list that was recorded empty says nothing about its elements.
func differList(at string, want, got []any) []string {
	if len(want) == 0 {
		return nil
	}
	if len(got) == 0 {
		return []string{name(at) + " is empty"}
	}
	seen := map[string]bool{}
	var d []string
	for _, v := range got {
		best := differ(at+"[]", want[0], v)
		for _, w := range want[1:] {
			if other := differ(at+"[]", w, v); len(other) < len(best) {
				best = other
			}
		}
		for _, line := range best {
			if !seen[line] {
				seen[line] = true
				d = append(d, line)
			}
		}
	}
	return d
}

func name(at string) string {
	if at == "" {
		return "the body"
	}
	return "field " + strings.TrimPrefix(at, ".")
}

func allows(kinds, one string) bool { return slices.Contains(strings.Split(kinds, "|"), one) }
