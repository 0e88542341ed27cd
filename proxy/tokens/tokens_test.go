package tokens

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// Counts that OpenAI's own tokenizer gives for these texts.
func TestCount(t *testing.T) {
	for _, tt := range []struct {
		model, text string
		want        int64
	}{
		{"gpt-4o", "hello world", 2},
		{"gpt-4o", "", 0},
		{"gpt-3.5-turbo", "hello world", 2},
		{"gpt-4o", "antidisestablishmentarianism", 6},
		{"gpt-4", "antidisestablishmentarianism", 6},
		{"gpt-4", "お誕生日おめでとう", 9},
		{"gpt-4o", "お誕生日おめでとう", 8},
		{"azure/gpt-4-turbo", "お誕生日おめでとう", 9},
		{"gpt-4.1-mini", "お誕生日おめでとう", 8},
		{"claude-sonnet-4-5", "お誕生日おめでとう", 8},
		{"ft:gpt-3.5-turbo:acme::id", "お誕生日おめでとう", 9},
		{"gpt-4o", "2 + 2 = 4", 7},
	} {
		if got := Count(tt.model, tt.text); got != tt.want {
			t.Errorf("%s %q: %d, want %d", tt.model, tt.text, got, tt.want)
		}
	}
}

// Of a long text some pieces are counted: near to all of it, in a bounded time.
func TestLong(t *testing.T) {
	words := strings.Fields("the quick brown fox jumps over a lazy dog while 1024 harbour pilots Überwintern in 水門 and then_return(x, y);\n")
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < 200<<10 {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(' ')
	}
	text := b.String()
	all := o200k.exact(text)
	if got := Count("gpt-4o", text); got < all*97/100 || got > all*103/100 {
		t.Errorf("%d, all of it has %d", got, all)
	}
	if got := Scaled("gpt-4o", text[:8<<10], int64(len(text))); got < all*95/100 || got > all*105/100 {
		t.Errorf("%d by its beginning, all of it has %d", got, all)
	}
	for name, bad := range map[string]string{
		"one letter":   strings.Repeat("a", 20<<10),
		"1 MiB of it":  strings.Repeat("a", 1<<20),
		"spaces":       strings.Repeat(" ", 1<<20),
		"no UTF-8":     strings.Repeat("\xff\xfe", 1<<19),
		"continuation": strings.Repeat("\x80", 1<<20),
		"capitals":     strings.Repeat("Aa", 1<<19),
		"marks":        strings.Repeat("!", 1<<20),
	} {
		start := time.Now()
		n := Count("gpt-4o", bad)
		took := time.Since(start)
		t.Logf("%s: %d tokens in %s", name, n, took)
		if n <= 0 || n > int64(len(bad)) {
			t.Errorf("%s: %d", name, n)
		}
		if took > 5*time.Second { // 1 MiB of one letter counted whole takes longer than all of these together
			t.Errorf("%s: %s", name, took)
		}
	}
}

func TestMessages(t *testing.T) {
	for _, tt := range []struct {
		body string
		want int64
	}{
		{`{"messages":[{"role":"user","content":"hello world"}]}`, 3 + 1 + 2 + 3},
		{`{"messages":[{"role":"user","name":"bob","content":"hello world"}]}`, 3 + 1 + 1 + 1 + 2 + 3},
		{`{"messages":[{"role":"user","content":[{"type":"text","text":"hello world"},{"type":"image_url","image_url":{"url":"data:x","detail":"low"}}]}]}`, 9 + 85},
		{`{"messages":[{"role":"user","content":[{"type":"text","text":"hello world"},{"type":"image_url","image_url":"http://x"}]}]}`, 9 + 765},
		{`{"messages":[{"role":"assistant","content":null},{"role":"user","content":7}]}`, 3 + 1 + 3 + 1 + 3},
		{`{"prompt":"hello world"}`, 2},
		{`{"prompt":["hello world","hello world"]}`, 4},
		{`{"input":[[1,2,3],[4]]}`, 4},
		{`{"input":[{"role":"user","content":[{"type":"input_text","text":"hello world"}]}]}`, 2},
		{`{}`, 0},
		{`hello world`, 2},
		{`{"messages":7}`, 5},
	} {
		if got := Messages("gpt-4o", []byte(tt.body)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.body, got, tt.want)
		}
	}
	plain := Messages("gpt-4o", []byte(`{"messages":[{"role":"user","content":"hi"}]}`))
	tools := Messages("gpt-4o", []byte(`{"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"weather"}}]}`))
	if tools < plain+8 {
		t.Errorf("tools: %d, without %d", tools, plain)
	}
}

// Lists in lists are not read once more for each of them.
func TestNested(t *testing.T) {
	text := strings.Repeat("hello world ", 1<<18)
	flat := `{"query":"` + text + `"}`
	deep := `{"query":` + strings.Repeat("[", 120) + `"` + text + `"` + strings.Repeat("]", 120) + `}`
	took := func(body string) (int64, time.Duration) {
		start := time.Now()
		n := Messages("gpt-4o", []byte(body))
		return n, time.Since(start)
	}
	took(flat) // makes the vocabulary
	want, once := took(flat)
	got, often := took(deep)
	t.Logf("%v, in lists %v", once, often)
	if got < want*9/10 || got > want*11/10 {
		t.Errorf("%d tokens, %d outside of the lists", got, want)
	}
	if often > 30*once {
		t.Errorf("%v, %v outside of the lists", often, once)
	}
}

func TestChoices(t *testing.T) {
	for _, tt := range []struct {
		choices string
		want    int64
	}{
		{`[{"index":0,"message":{"role":"assistant","content":"hello world"}}]`, 2},
		{`[{"message":{"content":"hello world","reasoning_content":"hello","reasoning":"hello"}},{"message":{"content":"hello"}}]`, 4},
		{`[{"message":{"content":null,"tool_calls":[{"function":{"name":"hello","arguments":"{}"}}]}}]`, 2},
		{`[{"text":"hello world"}]`, 2},
		{`[]`, 0},
		{``, 0},
	} {
		if got := Choices("gpt-4o", []byte(tt.choices)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.choices, got, tt.want)
		}
	}
}

func BenchmarkCount(b *testing.B) {
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 90)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Count("gpt-4o", text)
	}
}
