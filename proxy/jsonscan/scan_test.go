package jsonscan

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/proxy/llm"
)

func TestScanRefuses(t *testing.T) {
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	for _, c := range []struct {
		name, in string
		offset   int
		reason   string // "" means accepted
	}{
		{"plain", ` {"a":1,"b":[true,null,-0.5e+7],"c":{"a":"ä\u00e4\ud83d\ude00"}} `, 0, ""},
		{"empty object", `{}`, 0, ""},
		{"nothing", ``, 0, "unexpected end"},
		{"array", `[1,2]`, 0, NotObject},
		{"string", ` "x"`, 1, NotObject},
		{"broken array", `[1,`, 3, "unexpected end"},
		{"cut", `{"model":"mock","messages":[`, 28, "unexpected end"},
		{"trailing comma", `{"a":1,}`, 7, "name in double quotes"},
		{"trailing comma in array", `{"a":[1,]}`, 8, "trailing comma"},
		{"trailing data", `{"a":1} x`, 8, "after the end"},
		{"two documents", `{}{}`, 2, "after the end"},
		{"byte order mark", "\xef\xbb\xbf{}", 0, "byte order mark"},
		{"duplicate", `{"a":1,"b":2,"a":3}`, 13, "twice"},
		{"duplicate by escape", `{"é":1,"\u00e9":3}`, 8, "twice"},
		{"escaped name", `{"mod\u0065l":1}`, 1, "escapes"},
		{"needed escape", `{"a\"b":1}`, 0, ""},
		{"inner duplicate", `{"a":{"b":1,"b":2}}`, 0, ""},
		{"control character", "{\"a\":\"x\ny\"}", 7, "control character"},
		{"bad escape", `{"a":"\q"}`, 6, "escape"},
		{"bad hex", `{"a":"\u00g0"}`, 12, "hexadecimal"},
		{"lone high surrogate", `{"a":"\ud800"}`, 6, "surrogate"},
		{"lone low surrogate", `{"a":"\udc00"}`, 6, "surrogate"},
		{"two high surrogates", `{"a":"\ud800\ud800"}`, 6, "surrogate"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", 6, "UTF-8"},
		{"overlong UTF-8", "{\"a\":\"\xc0\xaf\"}", 6, "UTF-8"},
		{"cut UTF-8", "{\"a\":\"\xe2\x82", 6, "UTF-8"},
		{"leading zero", `{"a":01}`, 5, "number"},
		{"plus", `{"a":+1}`, 5, "value"},
		{"bare point", `{"a":1.}`, 7, "digit"},
		{"bare exponent", `{"a":1e}`, 7, "digit"},
		{"too large", `{"a":1e999}`, 5, "out of range"},
		{"too long", `{"a":` + strings.Repeat("9", 400) + `}`, 5, "out of range"},
		{"large and small", `{"a":1e308,"b":-1E-400,"c":` + strings.Repeat("9", 308) + `}`, 0, ""},
		{"NaN", `{"a":NaN}`, 5, "value"},
		{"literal", `{"a":nul}`, 5, "value"},
		{"single quotes", `{'a':1}`, 1, "name"},
		{"comment", `{"a":1/**/}`, 6, "','"},
		{"no colon", `{"a" 1}`, 5, "':'"},
		{"wrong bracket", `{"a":[1}}`, 7, "']'"},
		{"NUL", "{\"a\":1}\x00", 7, "after the end"},
		{"deep enough", deep(MaxDepth - 1), 0, ""},
		{"too deep", deep(MaxDepth), 5 + MaxDepth - 1, "deeply"},
		{"unclosed string", `{"a":"x`, 7, "starts at byte 5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var o Object
			err := o.Scan([]byte(c.in))
			switch {
			case c.reason == "" && err != nil:
				t.Fatalf("refused at %d: %s", err.Offset, err.Reason)
			case c.reason != "" && err == nil:
				t.Fatal("accepted")
			case c.reason != "" && (err.Offset != c.offset || !strings.Contains(err.Reason, c.reason)):
				t.Fatalf("offset %d, %q; want %d, %q", err.Offset, err.Reason, c.offset, c.reason)
			}
		})
	}
}

func TestManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"n0":0`)
	for i := 1; i <= MaxMembers; i++ {
		b.WriteString(`,"n` + decimal(i) + `":0`)
	}
	b.WriteString(`}`)
	var o Object
	if err := o.Scan([]byte(b.String())); err == nil || !strings.Contains(err.Reason, "1024") {
		t.Fatalf("got %v", err)
	}
}

func TestLenient(t *testing.T) {
	o := Object{Lenient: true}
	if err := o.Scan([]byte(`{"model":"a","x":1,"mod\u0065l":"b"}`)); err != nil {
		t.Fatal(err)
	}
	if m := o.Find("model"); m == nil || m.Value.From != 32 || o.Shadowed != 1 {
		t.Fatalf("got %+v, %d shadowed", m, o.Shadowed)
	}
}

// FuzzScan compares with encoding/json: what we accept it must read alike, and
// what we refuse beyond it must have one of the documented reasons.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		`{"model":"a","messages":[{"role":"user","content":"hi \u00e9 \ud83d\ude00"}],"stream":true}`,
		`{"a":1.5e-3,"b":{"c":[[],{}]},"":null}`, `{"a":1,"a":2}`, `[1]`, `{"\u0061":1}`, "{\"a\":\"\xff\"}",
		`{"é":1,"\u00e9":2}`, `{"a":"\ud800"}`, ` { } `,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var o Object
		err := o.Scan(b)
		var want map[string]json.RawMessage
		ref := json.Unmarshal(b, &want)
		if err != nil {
			if err.Offset < 0 || err.Offset > len(b) {
				t.Fatalf("offset %d of %d bytes", err.Offset, len(b))
			}
			if ref == nil && want != nil && !stricter(b, err) {
				t.Fatalf("refused at %d: %s", err.Offset, err.Reason)
			}
			return
		}
		if ref != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", ref)
		}
		if len(want) != len(o.Members) {
			t.Fatalf("%d members, encoding/json has %d", len(o.Members), len(want))
		}
		for _, m := range o.Members {
			got, there := want[string(m.Name)]
			if !there || !bytes.Equal(got, m.Value.Of(b)) {
				t.Fatalf("%q: %q, encoding/json has %q", m.Name, m.Value.Of(b), got)
			}
			if m.Kind == llm.JSONString {
				var text string
				if e := json.Unmarshal(got, &text); e != nil {
					t.Fatal(e)
				}
				mine, _ := Text(nil, b, m.Value)
				if string(mine) != text {
					t.Fatalf("text %q, encoding/json has %q", mine, text)
				}
				var back string
				if e := json.Unmarshal(AppendString(nil, text), &back); e != nil || back != text {
					t.Fatalf("AppendString of %q gives %q (%v)", text, back, e)
				}
			}
		}
	})
}

// stricter says whether a refusal is one of those that the package documents.
func stricter(b []byte, err *Error) bool {
	switch {
	case strings.Contains(err.Reason, "UTF-8"):
		return !utf8.Valid(b)
	case strings.Contains(err.Reason, "surrogate"):
		return bytes.Contains(bytes.ToLower(b), []byte(`\ud`))
	case strings.Contains(err.Reason, "escapes that"):
		return bytes.IndexByte(b, '\\') >= 0
	}
	for _, r := range []string{"twice", "deeply", "1024", "out of range"} {
		if strings.Contains(err.Reason, r) {
			return true
		}
	}
	return false
}

func TestSplice(t *testing.T) {
	body := []byte(`{"model":"a","drop":1,"messages":[],"tail":2,"end":3}`)
	var o Object
	if err := o.Scan(body); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cut, want string }{
		{"", `{"new":0,"model":"b","drop":1,"messages":[],"tail":2,"end":3}`},
		{"drop", `{"new":0,"model":"b","messages":[],"tail":2,"end":3}`},
		{"end", `{"new":0,"model":"b","drop":1,"messages":[],"tail":2}`},
		{"tail end", `{"new":0,"model":"b","drop":1,"messages":[]}`},
		{"drop tail", `{"new":0,"model":"b","messages":[],"end":3}`},
		{"drop tail end", `{"new":0,"model":"b","messages":[]}`},
	} {
		edits := AppendCuts(nil, o.Members, func(m *llm.Member) bool {
			return strings.Contains(" "+c.cut+" ", " "+string(m.Name)+" ")
		})
		edits = append(edits,
			llm.Edit{Span: o.Find("model").Value, With: []byte(`"b"`)},
			llm.Edit{Span: llm.Span{From: o.Open + 1, To: o.Open + 1}, With: []byte(`"new":0,`)})
		Sort(edits)
		if got := bytes.Join(Splice(nil, body, edits), nil); string(got) != c.want {
			t.Errorf("cut %q: %s, want %s", c.cut, got, c.want)
		}
	}
}

// FuzzSplice cuts members by a mask and checks the rest with encoding/json.
func FuzzSplice(f *testing.F) {
	f.Add([]byte(`{ "a":1 , "b" : [2],"c":"x"}`), uint64(5))
	f.Fuzz(func(t *testing.T, b []byte, mask uint64) {
		var o Object
		if o.Scan(b) != nil || len(o.Members) == 0 || len(o.Members) > 64 {
			return
		}
		all := o.Members
		i := map[*llm.Member]int{}
		for n := range all {
			i[&all[n]] = n
		}
		cut := func(m *llm.Member) bool { return mask>>i[m]&1 == 1 }
		edits := AppendCuts(nil, all, cut)
		Sort(edits)
		got := bytes.Join(Splice(nil, b, edits), nil)
		var left map[string]json.RawMessage
		if err := json.Unmarshal(got, &left); err != nil {
			t.Fatalf("%v: %q", err, got)
		}
		for n := range all {
			raw, there := left[string(all[n].Name)]
			if there == (mask>>n&1 == 1) || there && !bytes.Equal(raw, all[n].Value.Of(b)) {
				t.Fatalf("member %d in %q", n, got)
			}
		}
	})
}

func TestNumbers(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "12": 12, "-5": 0, "1.9": 1, "1e3": 1000, "1.25e+1": 12, "5e-1": 0, "-1e3": 0, "1e400": 1 << 53, "1exit": 0, "99999999999999999999": 1 << 53} {
		if got := Count([]byte(in)); got != want {
			t.Errorf("Count(%s) = %d, want %d", in, got, want)
		}
	}
	for in, want := range map[string]float64{"1.5": 1.5, "30": 30, "-1": 0, "1e400": 0} {
		if got := Seconds([]byte(in)); got != want {
			t.Errorf("Seconds(%s) = %v, want %v", in, got, want)
		}
	}
}

func body(size int) []byte {
	return []byte(`{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You are kind."},{"role":"user","content":"` +
		strings.Repeat("The quick brown fox jumps over the lazy dog. ", size/45) + `"}],"temperature":0.2,"stream":true,"user":"u-1"}`)
}

func BenchmarkScan(b *testing.B) {
	for _, c := range []struct {
		name string
		n    int
	}{{"2KB", 1850}, {"100KB", 100 << 10}} {
		in := body(c.n)
		b.Run(c.name, func(b *testing.B) {
			var o Object
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if o.Scan(in) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}
