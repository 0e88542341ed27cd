package admin

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// scene is one call of the story that a LiteLLM proxy was told, with the shape
// of its answer: JSON kinds instead of values. The end-to-end tests tell all of
// it to a whole appliance; here it is told one noun at a time.
type scene struct {
	Name   string
	As     string
	Do     string // method and path; {name} is what was saved
	Body   json.RawMessage
	Save   map[string]string // name → field of the answer
	Status int
	Shape  any
}

// tell tells the scenes that pick chooses, in order. accepted are the
// differences that are meant, by the scene's name.
func (w *world) tell(pick func(s *scene) bool, accepted map[string]string) {
	w.Helper()
	text, err := os.ReadFile("../../internal/e2e/testdata/management.json")
	if err != nil {
		w.Fatal(err)
	}
	var story []scene
	if err := json.Unmarshal(text, &story); err != nil {
		w.Fatal(err)
	}
	saved := map[string]string{}
	told := 0
	for i := range story {
		s := &story[i]
		if !pick(s) {
			continue
		}
		told++
		var pairs []string
		for name, value := range saved {
			pairs = append(pairs, "{"+name+"}", value)
		}
		fill := strings.NewReplacer(pairs...)
		method, target, _ := strings.Cut(s.Do, " ")
		a := w.call(s.As, method, fill.Replace(target), fill.Replace(string(s.Body)))
		doc, _ := a.Body.(map[string]any)
		for name, field := range s.Save {
			saved[name], _ = doc[field].(string)
			w.remember(name, saved[name])
		}
		var d []string
		if a.Status != s.Status {
			d = append(d, "status "+strconv.Itoa(a.Status)+", recorded "+strconv.Itoa(s.Status))
		}
		d = append(d, sceneDiff("", s.Shape, a.Body)...)
		switch meant := accepted[s.Name]; {
		case meant == "" && len(d) > 0:
			w.Errorf("%s as %s:\n  %s\n  %.400s", s.Name, s.As, strings.Join(d, "\n  "), a.Raw)
		case meant != "" && (len(d) == 0 || !strings.Contains(d[0], meant)):
			w.Errorf("%s as %s: the difference %q is not there: %v", s.Name, s.As, meant, d)
		}
	}
	if told == 0 {
		w.Error("no scene was told")
	}
}

// sceneDiff lists how a value differs from a shape. A list that was recorded
// empty says nothing of its elements.
func sceneDiff(at string, shape, v any) []string {
	switch want := shape.(type) {
	case map[string]any:
		got, ok := v.(map[string]any)
		if !ok {
			if kinds, _ := want["|"].(string); slices.Contains(strings.Split(kinds, "|"), sceneKind(v)) {
				return nil
			}
			return []string{at + " is " + sceneKind(v) + ", recorded object"}
		}
		var d []string
		for _, k := range slices.Sorted(maps.Keys(want)) {
			if inner, ok := got[k]; ok {
				d = append(d, sceneDiff(at+"."+k, want[k], inner)...)
			} else if k != "|" {
				d = append(d, at+"."+k+" is missing")
			}
		}
		for _, k := range slices.Sorted(maps.Keys(got)) {
			if _, ok := want[k]; !ok {
				d = append(d, at+"."+k+" was not recorded")
			}
		}
		return d
	case []any:
		got, ok := v.([]any)
		if !ok {
			return []string{at + " is " + sceneKind(v) + ", recorded list"}
		}
		if len(want) == 0 || len(got) == 0 {
			return nil
		}
		if union, ok := united(got); ok {
			return nearestShape(at+"[]", want, union)
		}
		var d []string
		for _, inner := range got {
			d = append(d, nearestShape(at+"[]", want, inner)...)
		}
		return d
	case string:
		if !slices.Contains(strings.Split(want, "|"), sceneKind(v)) {
			return []string{at + " is " + sceneKind(v) + ", recorded " + want}
		}
	}
	return nil
}

// united is one object with the fields of all: a recorded list has one shape
// for all of its objects.
func united(all []any) (map[string]any, bool) {
	out := map[string]any{}
	for _, v := range all {
		o, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		for k, inner := range o {
			was, both := out[k].(map[string]any)
			now, too := inner.(map[string]any)
			switch {
			case both && too:
				out[k], _ = united([]any{was, now})
			case out[k] == nil:
				out[k] = inner
			}
		}
	}
	return out, true
}

// nearestShape is the difference to the shape that comes nearest.
func nearestShape(at string, shapes []any, v any) []string {
	best := sceneDiff(at, shapes[0], v)
	for _, s := range shapes[1:] {
		if d := sceneDiff(at, s, v); len(d) < len(best) {
			best = d
		}
	}
	return best
}

func sceneKind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case json.Number:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}

func TestSceneDiff(t *testing.T) {
	shape := map[string]any{"a": "string|null", "b": []any{map[string]any{"c": "number"}}}
	same := map[string]any{"a": nil, "b": []any{map[string]any{"c": json.Number("1")}}}
	other := map[string]any{"b": []any{map[string]any{"c": "1"}}, "d": true}
	if d := sceneDiff("", shape, same); len(d) != 0 {
		t.Error(d)
	}
	if d := sceneDiff("", shape, other); !slices.Equal(d, []string{".a is missing", ".b[].c is string, recorded number", ".d was not recorded"}) {
		t.Error(d)
	}
}
