package gateway

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"testing"

	"sluice/proxy/llm"
	"sluice/proxy/tokens"
)

// TestTierOfAnswer: the class of service stands beside the usage, in streams in
// each event.
func TestTierOfAnswer(t *testing.T) {
	x := &Exchange{}
	x.Reset()
	text := []byte(`{"service_tier":"flex","usage":{"prompt_tokens":1,"completion_tokens":2}}`)
	if x.object.Scan(text) != nil {
		t.Fatal("no object")
	}
	x.readUsage(x.object.Find("usage").Value.Of(text))
	if x.readTier(&x.object, text); x.Usage.Tier != llm.TierFlex {
		t.Errorf("%+v", x.Usage)
	}
}

// TestSearchAsked: a request that asks for a search of the web has made one,
// where nobody counts them.
func TestSearchAsked(t *testing.T) {
	x := &Exchange{}
	x.Reset()
	x.Request.Body = []byte(`{"model":"m","web_search_options":{"search_context_size":"high"}}`)
	if x.object.Scan(x.Request.Body) != nil {
		t.Fatal("no object")
	}
	x.Request.Members = append(x.Request.Members, x.object.Members...)
	if x.readUsage([]byte(`{"prompt_tokens":1,"completion_tokens":2}`)); x.Usage.Searches != 1 || x.Usage.SearchSize != llm.SearchHigh {
		t.Errorf("%+v", x.Usage)
	}
	if x.readUsage([]byte(`{"prompt_tokens":1,"completion_tokens":2,"num_search_queries":4}`)); x.Usage.Searches != 4 {
		t.Errorf("%+v", x.Usage)
	}
}

func event(text string) []byte {
	return []byte(`{"id":"x","model":"m","choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":null}]}`)
}

// TestSpeech: the text of a stream is found in its events, whatever is in it.
func TestSpeech(t *testing.T) {
	var s speech
	for _, text := range []string{"Hello", "", ` \"world\"`, `\n`, ` back\\`, "!"} {
		s.hear(event(text))
	}
	s.hear([]byte(`{"choices":[{"delta":{"content":null,"tool_calls":[{"function":{"arguments":"{\"a\":1}"}}]}}]}`))
	s.hear([]byte(`{"choices":[{"delta":{"role":"assistant"}}]}`))
	s.hear([]byte(`{"choices": [{"delta": {"content": null, "reasoning": " so"}}]}`))
	s.hear([]byte(`{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":""}},{"function":{"arguments":"{}"}},{"function":{"arguments": "[]"}}]}}]}`))
	s.hear([]byte(`{"choices":[{"delta":{"content":"cut`))
	if got, want := unescaped(s.text), "Hello \"world\"\n back\\!{\"a\":1} so{}[]cut"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := s.count("gpt-4o"), tokens.Count("gpt-4o", unescaped(s.text)); got != want {
		t.Errorf("%d tokens, want %d: escapes are no text", got, want)
	}
	for odd, want := range map[string]string{
		`\`: `\`, `\u`: "\ufffd", `\u12`: "\ufffd", `a\`: `a\`, ``: ``, `\u00e9t\u00e9`: "\u00e9t\u00e9", `\ud83c\udf0a!`: "\U0001f30a!",
		`\ud83c`: "\ufffd", `\ud83c\u00e9`: "\ufffd\u00e9", `\ud83c\udf`: "\ufffd\ufffd", `\uzzzzx`: "\ufffdx", `\b`: "b",
	} {
		if got := unescaped([]byte(odd)); got != want {
			t.Errorf("%s: %q, want %q", odd, got, want)
		}
	}
}

// TestSpeechCount: a long stream is counted by its beginning, and the memory of
// it is bounded.
func TestSpeechCount(t *testing.T) {
	var s speech
	words := strings.Fields("the quick brown fox jumps over a lazy dog and the harbour pilot waits")
	for i := range 5000 {
		s.hear(event(words[i%len(words)] + " "))
	}
	if n := s.count("gpt-4o"); n < 4500 || n > 6500 {
		t.Errorf("%d tokens of 5000 words", n)
	}
	if len(s.text) > spokenKept || cap(s.text) > 2*spokenKept {
		t.Errorf("%d bytes kept in %d", len(s.text), cap(s.text))
	}
}

func BenchmarkSpeech(b *testing.B) {
	e := event(" harbour")
	var s speech
	b.ReportAllocs()
	for b.Loop() {
		s.hear(e)
	}
}

// TestForms: events that differ from the one before in their text alone are
// known by that, and no other event is taken for one.
func TestForms(t *testing.T) {
	at := func(index int, member, text, rest string) string {
		return `{"id":"x","model":"gpt-4o-mini-2024-07-18","choices":[{"index":` + strconv.Itoa(index) + `,"delta":{"` + member + `":"` + text + `"}}]` + rest + `}`
	}
	const usage = `,"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}`
	const last = `,"usage":{"prompt_tokens":4,"completion_tokens":5,"total_tokens":9}`
	padding := `,"obfuscation":"` + strings.Repeat("x", len(last)-len(`,"obfuscation":""`)) + `"` // as long as the usage
	datas := []string{
		at(0, "content", "", ""), at(0, "content", "one", ""), at(0, "content", ` \"two\"`, ""), at(0, "content", ` three\\`, ""),
		at(1, "content", "four", ""), at(0, "content", "five", `,"usage":null`), at(0, "content", "six", `,"usage":null`),
		at(0, "reasoning_content", "seven", ""), at(0, "content", "eight", usage), at(0, "content", "nine", usage), at(0, "content", "ten", ""),
		at(0, "content", `\u0022}}],\"usage\":{`, ""), at(0, "content", "", ""), at(0, "content", "eleven", ""),
		at(0, "content", "twelve", padding), at(0, "content", "thirteen", padding), at(0, "content", "last", last),
	}
	x, p := newPump(t, 1)
	x.g = &Gateway{now: func() int64 { return 0 }}
	var in, want, text string
	for i, d := range datas {
		in += "data: " + d + "\n\n"
		want += "data: " + strings.ReplaceAll(d, `"gpt-4o-mini-2024-07-18"`, `"mine"`) + "\n\n"
		var o struct {
			Choices []struct{ Delta map[string]string }
		}
		if err := json.Unmarshal([]byte(d), &o); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		for _, said := range o.Choices[0].Delta {
			text += said
		}
	}
	p.src = &pieces{b: []byte(in + "data: [DONE]\n\n"), n: 50}
	out, err := io.ReadAll(p)
	if err != nil || string(out) != want+"data: [DONE]\n\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if got := unescaped(p.spoken.text); got != text || p.spoken.said != int64(len(p.spoken.text)) {
		t.Errorf("said %q, want %q", got, text)
	}
	if x.Usage.Total != 9 || len(p.form.head) == 0 {
		t.Errorf("%+v, %q", x.Usage, p.form)
	}
}
