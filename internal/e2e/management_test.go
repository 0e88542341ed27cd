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

// differ lists how a value differs from a shape, one line each.
func differ(at string, shape, value any) []string { return differAll(at, shape, []any{value}) }

// differAll lists how values of one shape differ from it. Fields of objects
// inside a list are compared over all objects of it: a field is missing where
// none of them has it, and a list is empty where all of them are.
func differAll(at string, shape any, values []any) []string {
	switch want := shape.(type) {
	case map[string]any:
		kinds, _ := want["|"].(string)
		var objects []map[string]any
		for _, v := range values {
			if o, ok := v.(map[string]any); ok {
				objects = append(objects, o)
			} else if !allows(kinds, kindOf(v)) {
				return []string{fmt.Sprintf("%s is %s, recorded object", name(at), kindOf(v))}
			}
		}
		return differObjects(at, want, objects)
	case []any:
		var elements []any
		for _, v := range values {
			list, ok := v.([]any)
			if !ok {
				return []string{fmt.Sprintf("%s is %s, recorded array", name(at), kindOf(v))}
			}
			elements = append(elements, list...)
		}
		return differElements(at, want, elements)
	case string:
		for _, v := range values {
			if k := kindOf(v); !allows(want, k) {
				return []string{fmt.Sprintf("%s is %s, recorded %s", name(at), k, want)}
			}
		}
	}
	return nil
}

func differObjects(at string, want map[string]any, got []map[string]any) []string {
	if len(got) == 0 {
		return nil
	}
	fields := map[string][]any{}
	for _, o := range got {
		for k, v := range o {
			fields[k] = append(fields[k], v)
		}
	}
	var d []string
	for _, k := range slices.Sorted(maps.Keys(want)) {
		switch {
		case k == "|":
		case fields[k] == nil:
			d = append(d, name(at+"."+k)+" is missing")
		default:
			d = append(d, differAll(at+"."+k, want[k], fields[k])...)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		if _, ok := want[k]; !ok {
			d = append(d, name(at+"."+k)+" was not recorded")
		}
	}
	return d
}

// differElements holds the elements of a list against their shape, or each
// against the nearest of several. A list that was recorded empty says nothing
// about its elements.
func differElements(at string, want, got []any) []string {
	switch {
	case len(want) == 0:
		return nil
	case len(got) == 0:
		return []string{name(at) + " is empty"}
	case len(want) == 1:
		return differAll(at+"[]", want[0], got)
	}
	var d []string
	for _, v := range got {
		best := differ(at+"[]", want[0], v)
		for _, w := range want[1:] {
			if other := differ(at+"[]", w, v); len(other) < len(best) {
				best = other
			}
		}
		for _, line := range best {
			if !slices.Contains(d, line) {
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
