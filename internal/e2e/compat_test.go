//go:build e2e

package e2e

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"sluice/internal/fakeprovider"
)

// recorded is one exchange with a LiteLLM proxy, in short: what was asked and
// the shape of the answer. Texts of messages are not kept.
type recorded struct {
	Name   string
	Do     string            // method and path
	Key    *bool             // false: no master key
	Header map[string]string // beside key and content type; {master} is the master key
	Body   *string
	Want   struct {
		Status  int
		Type    string                     // media type
		Error   map[string]json.RawMessage // fields of the error object; message by its kind
		Keys    map[string]string          // top-level fields of the body and their kinds; "" is the body itself
		Detail  string                     // the text of {"detail": …}
		Events  string                     // of a stream: done with [DONE], or open
		LiteLLM []string                   // headers after x-litellm-
		Header  []string                   // others that were there
	}
}

//go:embed testdata/compat.json
var compatCases []byte

//go:embed testdata/compat_to_come.txt
var compatToCome string

// compatConfig is the configuration of the recording; its two upstreams are
// one fake provider.
func compatConfig(p *fakeprovider.Provider) string {
	models := [][2]string{
		{"broken-500", "s500"},
		{"broken-401", "s401"},
		{"broken-429", "s429,retry=7"},
		{"broken-400", "s400"},
		{"broken-ctx", "ctx"},
		{"slow", "slow,for=5s"},
		{"garbage", "html200"},
		{"stream", ""},
		{"cut", "cut,at=300"},
	}
	var b strings.Builder
	fmt.Fprintf(&b, `model_list:
  - model_name: gpt-4o-mini
    litellm_params: {model: openai/gpt-4o-mini, api_key: x, api_base: %q}
    model_info: {id: dep-1, input_cost_per_token: 0.00000015, output_cost_per_token: 0.0000006}
  - model_name: mock
    litellm_params: {model: openai/gpt-4o, api_key: x, mock_response: "Hello from the mock"}
  - model_name: broken-conn
    litellm_params: {model: openai/gpt-4o, api_key: x, api_base: "http://127.0.0.1:1/v1"}
  - model_name: "openai/*"
    litellm_params: {model: "openai/*", api_key: x, api_base: %q}
`, p.URL(""), p.URL(""))
	for _, m := range models {
		timeout := ""
		if m[0] == "slow" {
			timeout = ", timeout: 1"
		}
		fmt.Fprintf(&b, "  - model_name: %s\n    litellm_params: {model: openai/gpt-4o, api_key: x, api_base: %q%s}\n",
			m[0], p.URL(m[1]), timeout)
	}
	fmt.Fprintf(&b, `general_settings:
  master_key: %s
litellm_settings:
  num_retries: 0
  callbacks: ["prometheus"]
  json_logs: false
router_settings:
  disable_cooldowns: true
  enable_pre_call_checks: true
`, MasterKey)
	return b.String()
}

// TestCompatibility replays what a LiteLLM proxy was asked and compares status,
// content type, error fields, top-level fields and header names.
func TestCompatibility(t *testing.T) {
	var cases []recorded
	if err := json.Unmarshal(compatCases, &cases); err != nil {
		t.Fatal(err)
	}
	toCome := map[string]bool{}
	for line := range strings.Lines(compatToCome) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			toCome[line] = false
		}
	}
	p := fakeprovider.Start(t)
	a := boot(t, Options{Config: compatConfig(p)})
	used := make([]bool, len(accepted))
	replayed, differing := 0, 0
	for _, c := range cases {
		diffs, err := replay(a, &c)
		if _, later := toCome[c.Name]; later {
			toCome[c.Name] = true
			if err == nil && len(unaccepted(c.Name, diffs, nil)) == 0 {
				t.Errorf("%s: answers as recorded now; take it off testdata/compat_to_come.txt", c.Name)
			}
			continue
		}
		replayed++
		t.Run(c.Name, func(t *testing.T) {
			if err != nil {
				t.Fatal(err)
			}
			if left := unaccepted(c.Name, diffs, used); len(left) > 0 {
				t.Errorf("differs:\n  %s", strings.Join(left, "\n  "))
			}
		})
		if len(diffs) > 0 {
			differing++
		}
	}
	for name, seen := range toCome {
		if !seen {
			t.Errorf("testdata/compat_to_come.txt names %q, which is no case", name)
		}
	}
	for i, x := range accepted {
		if !used[i] {
			t.Errorf("accepted difference %q of %q does not occur; take it off the table", x.diff, x.cases)
		}
	}
	t.Logf("%d cases replayed, %d of them with accepted differences, %d to come", replayed, differing, len(toCome))
}

// unaccepted is what of diffs no row of the table accepts; used notes the rows
// that did.
func unaccepted(name string, diffs []string, used []bool) []string {
	var left []string
	for _, d := range diffs {
		ok := false
		for i, x := range accepted {
			if matchesAny(x.cases, name) && glob(x.diff, d) {
				ok = true
				if used != nil {
					used[i] = true
				}
			}
		}
		if !ok {
			left = append(left, d)
		}
	}
	return left
}

func matchesAny(patterns, name string) bool {
	for p := range strings.SplitSeq(patterns, "|") {
		if glob(p, name) {
			return true
		}
	}
	return false
}

// glob matches with * for anything, slashes too.
func glob(pattern, s string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x01"), strings.ReplaceAll(s, "/", "\x01"))
	return err == nil && ok
}

// replay asks the appliance and lists how the answer differs, one line each.
func replay(a *Appliance, c *recorded) ([]string, error) {
	method, target, _ := strings.Cut(c.Do, " ")
	header := map[string]string{}
	if c.Key == nil || *c.Key {
		header["Authorization"] = "Bearer " + MasterKey
	}
	body := ""
	if c.Body != nil {
		body = *c.Body
		header["Content-Type"] = "application/json"
	}
	for k, v := range c.Header {
		header[http.CanonicalHeaderKey(k)] = strings.ReplaceAll(v, "{master}", MasterKey)
	}
	r, err := a.Do(method, target, body, header)
	if err != nil {
		return nil, err
	}
	var d []string
	if r.Status != c.Want.Status {
		d = append(d, fmt.Sprintf("status %d, recorded %d", r.Status, c.Want.Status))
	}
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); media != c.Want.Type {
		d = append(d, fmt.Sprintf("content type %q, recorded %q", media, c.Want.Type))
	}
	d = append(d, compareHeaders(r.Header, c)...)
	if method == http.MethodHead {
		return d, nil
	}
	return append(d, compareBody(r, c)...), nil
}

func compareHeaders(got http.Header, c *recorded) []string {
	var d, have []string
	for k := range got {
		if name, ok := strings.CutPrefix(strings.ToLower(k), "x-litellm-"); ok {
			have = append(have, name)
		}
	}
	slices.Sort(have)
	for _, name := range c.Want.LiteLLM {
		if !slices.Contains(have, name) {
			d = append(d, "without x-litellm-"+name)
		}
	}
	for _, name := range have {
		if !slices.Contains(c.Want.LiteLLM, name) {
			d = append(d, "with x-litellm-"+name)
		}
	}
	for _, name := range c.Want.Header {
		if got.Get(name) == "" {
			d = append(d, "without "+name)
		}
	}
	return d
}

func compareBody(r *Answer, c *recorded) []string {
	w := &c.Want
	if w.Events != "" {
		if done := bytes.Contains(r.Body, []byte("data: [DONE]")); done != (w.Events == "done") {
			return []string{fmt.Sprintf("stream ends with [DONE]: %v", done)}
		}
		return nil
	}
	if len(w.Error) == 0 && len(w.Keys) == 0 {
		return nil
	}
	var whole any
	if err := json.Unmarshal(r.Body, &whole); err != nil {
		return []string{fmt.Sprintf("body is not JSON: %.80q", r.Body)}
	}
	if kind, ok := w.Keys[""]; ok {
		if k := kindOf(whole); k != kind {
			return []string{"body is " + k + ", recorded " + kind}
		}
		return nil
	}
	object, ok := whole.(map[string]any)
	if !ok {
		return []string{"body is " + kindOf(whole) + ", recorded object"}
	}
	var d []string
	for k, kind := range w.Keys {
		if got := kindOf(object[k]); got != kind {
			d = append(d, fmt.Sprintf("field %s is %s, recorded %s", k, got, kind))
		}
	}
	if w.Detail != "" && object["detail"] != w.Detail {
		d = append(d, fmt.Sprintf("detail is %v", object["detail"]))
	}
	if len(w.Error) > 0 {
		d = append(d, compareError(object, w.Error)...)
	}
	slices.Sort(d)
	return d
}

func compareError(object map[string]any, want map[string]json.RawMessage) []string {
	got, ok := object["error"].(map[string]any)
	if !ok {
		return []string{"no error object"}
	}
	var d []string
	for k := range got {
		if _, ok := want[k]; !ok {
			d = append(d, "error has the field "+k)
		}
	}
	for k, raw := range want {
		v, ok := got[k]
		switch {
		case !ok:
			d = append(d, "error has no field "+k)
		case k == "message":
			if text, ok := v.(string); !ok || text == "" {
				d = append(d, "error.message is "+kindOf(v))
			}
		default:
			if b, err := json.Marshal(v); err != nil || string(b) != string(raw) {
				d = append(d, fmt.Sprintf("error.%s %s, recorded %s", k, b, raw))
			}
		}
	}
	return d
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	default:
		return "object"
	}
}
