package fakeprovider

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

// TestSentAtEveryByte compares what is told of every prefix of a stream with
// what a reader of events makes of it.
func TestSentAtEveryByte(t *testing.T) {
	shape := Shape{Events: Range{3, 9}, Size: Range{1, 30}}
	for _, usage := range []bool{false, true} {
		whole := shape.Stream("u-7", Model, usage)
		for n := range len(whole) + 1 {
			var want Sent
			parts := bytes.SplitAfter(whole[:n], []byte("\n\n"))
			for _, event := range parts[:len(parts)-1] {
				if string(event) == "data: [DONE]\n\n" {
					want.Done = true
					continue
				}
				var chunk struct {
					Choices []struct {
						Delta map[string]any `json:"delta"`
					} `json:"choices"`
					Usage *Tokens `json:"usage"`
				}
				if err := json.Unmarshal(event[len("data: "):], &chunk); err != nil {
					t.Fatal(err)
				}
				if chunk.Usage != nil {
					want.Usage = true
					continue
				}
				if text, _ := chunk.Choices[0].Delta["content"].(string); text != "" {
					want.Events++
					want.Text += text
				}
			}
			if got := shape.Sent("u-7", usage, int64(n)); got != want {
				t.Fatalf("usage %v, %d bytes: got %+v, want %+v", usage, n, got, want)
			}
		}
	}
}

// TestNumberedAnswers: each further request of an id gets an answer of its own,
// which the ledger can tell from the others.
func TestNumberedAnswers(t *testing.T) {
	p, err := New(Config{Ledger: 10, Numbered: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	body := strings.Replace(question, `"user"`, `"prompt_cache_key"`, 1) + `,"stream":true,"stream_options":{"include_usage":true}}`
	for attempt, seed := range []string{"u-1", "u-1#2", "u-1#3"} {
		_, got, err := post(t, p.URL("ok,prompt=17"), body)
		shape := DefaultShape
		shape.Prompt = 17
		if err != nil || !bytes.Equal(got, shape.Stream(seed, Model, true)) {
			t.Fatalf("attempt %d: %v %s", attempt+1, err, got)
		}
		e := p.Ledger().Of("u-1")[attempt]
		if e.Seed != seed || e.Answer != AnswerID(seed) || !bytes.Contains(got, []byte(`"id":"`+e.Answer+`"`)) || e.Bytes != int64(len(got)) ||
			e.Tokens != shape.Tokens(seed, true) || e.Tokens.Prompt != 17 {
			t.Errorf("attempt %d: %+v", attempt+1, e)
		}
	}
}

// TestUsageBeforeTheCut: the tokens are said once their event is whole.
func TestUsageBeforeTheCut(t *testing.T) {
	p := Start(t)
	shape := DefaultShape
	shape.Prompt = 17
	end := len(shape.Stream("u-1", Model, true)) - len("data: [DONE]\n\n")
	for at, said := range map[int]bool{end - 1: false, end: true, end + 3: true} {
		p.Ledger().Reset()
		body := strings.Replace(question, `"u-1"`, `"u-`+strconv.Itoa(at)+`"`, 1) + `,"stream":true,"stream_options":{"include_usage":true}}`
		_, got, err := post(t, p.URL("cut,at=id,prompt=17"), body)
		if err == nil || len(got) != at {
			t.Fatalf("%d bytes: %v, got %d", at, err, len(got))
		}
		e := p.Ledger().All()[0]
		if (e.Tokens.Completion != 0) != said || shape.Sent(e.Seed, true, e.Bytes).Usage != said || e.Complete {
			t.Errorf("%d bytes: %+v", at, e)
		}
	}
}
