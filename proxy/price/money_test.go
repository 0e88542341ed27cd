package price_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice/proxy/llm"
	"sluice/proxy/price"
)

// perToken are fields of tokens, with what tells sizes and tiers apart.
var perToken = []string{
	"input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost", "cache_creation_input_token_cost",
	"cache_creation_input_token_cost_above_1hr", "cache_read_input_audio_token_cost", "cache_read_input_image_token_cost",
	"input_cost_per_audio_token", "input_cost_per_image_token", "input_cost_per_video_token", "output_cost_per_reasoning_token",
	"output_cost_per_audio_token", "output_cost_per_image_token", "output_cost_per_video_token", "citation_cost_per_token",
}

var perPiece = []string{
	"input_cost_per_image", "output_cost_per_image", "input_cost_per_pixel", "output_cost_per_pixel", "input_cost_per_second",
	"input_cost_per_audio_per_second", "output_cost_per_second", "input_cost_per_video_per_second", "input_cost_per_character",
	"output_cost_per_character", "input_cost_per_query", "google_maps_grounding_cost_per_query", "file_search_cost_per_1k_calls",
	"code_interpreter_cost_per_session", "ocr_cost_per_page", "annotation_cost_per_page", "input_cost_per_request",
}

var (
	sizes = []string{"", "", "", "_above_100k_tokens", "_above_128k_tokens", "_above_200k_tokens", "_above_272k_tokens", "_above_512k_tokens"}
	tiers = []string{"", "", "", "_batches", "_flex", "_priority", "_ultrafast"}
)

// number is a price as the table may write it: plain, with an exponent, with
// noise in its last digits, absurdly large.
func number(r *rand.Rand) json.RawMessage {
	switch r.IntN(12) {
	case 0:
		return json.RawMessage("0")
	case 1:
		return json.RawMessage(fmt.Sprintf("%d.%de-%02d", r.IntN(10), r.Int64N(1e16), 5+r.IntN(4)))
	case 2:
		return json.RawMessage(strconv.Itoa(r.IntN(1_000_000)))
	case 3:
		return json.RawMessage(fmt.Sprintf("0.%05d", r.IntN(100_000)))
	case 4:
		return json.RawMessage(fmt.Sprintf(`"%de-%d"`, r.IntN(100), r.IntN(9)))
	default:
		return json.RawMessage(fmt.Sprintf("%d.%de-%d", 1+r.IntN(9), r.IntN(100), 3+r.IntN(7)))
	}
}

func randomFields(r *rand.Rand) map[string]json.RawMessage {
	f := map[string]json.RawMessage{}
	for _, name := range perToken {
		if r.IntN(3) > 0 {
			for range 1 + r.IntN(4) {
				f[name+sizes[r.IntN(len(sizes))]+tiers[r.IntN(len(tiers))]] = number(r)
			}
		}
	}
	for _, name := range perPiece {
		if r.IntN(6) == 0 {
			f[name] = number(r)
		}
	}
	if r.IntN(4) == 0 {
		f["search_context_cost_per_query"] = json.RawMessage(fmt.Sprintf(
			`{"search_context_size_low":%s,"search_context_size_medium":%s,"search_context_size_high":%s}`,
			number(r), number(r), number(r)))
	}
	if r.IntN(5) == 0 {
		f["mode"] = json.RawMessage(`"image_generation"`)
	}
	return f
}

// part is a random part of a whole.
func part(r *rand.Rand, whole int64) int64 {
	if r.IntN(2) == 0 || whole <= 0 {
		return 0
	}
	return r.Int64N(whole + 1)
}

func count(r *rand.Rand) int64 {
	switch r.IntN(8) {
	case 0, 1, 2:
		return 0
	case 3:
		return r.Int64N(1 << 30)
	case 4:
		return r.Int64N(1_000_000)
	default:
		return r.Int64N(5_000)
	}
}

// randomUsage is of what a call can have used, the parts within their wholes.
func randomUsage(r *rand.Rand, tokensAlone bool) llm.Usage {
	u := llm.Usage{Input: count(r), Output: count(r), Tier: llm.Tier(r.IntN(int(llm.TierOffPeak)))}
	left := u.Input
	take := func() int64 { n := part(r, left); left -= n; return n }
	u.CachedIn, u.CacheWrite, u.VideoIn = take(), take(), take()
	u.CacheWriteHour = part(r, u.CacheWrite)
	u.CachedAudio = part(r, u.CachedIn)
	u.CachedImage = part(r, u.CachedIn-u.CachedAudio)
	u.AudioIn = u.CachedAudio + take()
	u.ImageIn = u.CachedImage + take()
	left = u.Output
	u.Reasoning, u.AudioOut, u.ImageOut, u.VideoOut = take(), take(), take(), take()
	if tokensAlone {
		return u
	}
	for _, n := range []*int64{
		&u.Citations, &u.ImagesIn, &u.Images, &u.Pixels, &u.Millis, &u.MillisOut, &u.VideoMillis, &u.Characters,
		&u.CharactersOut, &u.Queries, &u.Searches, &u.MapQueries, &u.FileSearches, &u.Sessions, &u.Pages,
	} {
		if r.IntN(4) == 0 {
			*n = count(r)
		}
	}
	u.Annotated = part(r, u.Pages)
	u.SearchSize = llm.SearchSize(r.IntN(4))
	return u
}

func dump(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// TestRandom is run M12: random prices and usages, overflow, cached tokens and
// tiers among them, against rational numbers. SLUICE_TUPLES sets how many.
func TestRandom(t *testing.T) {
	tuples := tuples(20_000)
	r := rand.New(rand.NewPCG(6, 12))
	overflows := 0
	const each = 200 // usages of a price
	for range tuples / each {
		fields := randomFields(r)
		p, err := price.Compile(fields, "test")
		if err != nil {
			t.Fatal(err, dump(fields))
		}
		again, err := price.Read(p.Document())
		if err != nil || again.Version() != p.Version() || string(again.Document()) != string(p.Document()) {
			t.Fatalf("%v: a document reads back as another one\n%s\n%s", err, p.Document(), again.Document())
		}
		for range each {
			u := randomUsage(r, r.IntN(2) == 0)
			got, exact := p.Cost(&u)
			if other, _ := again.Cost(&u); other != got {
				t.Fatalf("the document's price says %d, the price %d\n%s\n%s", other, got, dump(fields), dump(u))
			}
			want := new(big.Rat)
			if u != (llm.Usage{Tier: u.Tier, SearchSize: u.SearchSize}) {
				want = newReference(fields, &u).cost(&u)
			}
			n := nanos(want)
			if n == nil || n.Cmp(big.NewInt(int64(price.Dearest))) > 0 {
				overflows++
				if got != price.Dearest || exact {
					t.Fatalf("%s dollars: %d, exact %v", want.FloatString(3), got, exact)
				}
				continue
			}
			if int64(got) != n.Int64() {
				t.Fatalf("%d, want %s\n%s\n%s", got, n, dump(fields), dump(u))
			}
		}
	}
	if overflows == 0 {
		t.Error("no sum was too large: the test does not see what it is there for")
	}
	t.Logf("%d tuples, %d beyond what an amount holds", tuples, overflows)
}

// tuples is how many are tried: a few, or as many as SLUICE_TUPLES says.
func tuples(few int) int {
	if n, err := strconv.Atoi(os.Getenv("SLUICE_TUPLES")); err == nil {
		return n
	}
	return few
}

// TestTable: of 200 models of the table, what each of many calls used costs what
// the table's own fields come to in decimal: 1,000 calls of each where
// SLUICE_TUPLES is a million.
func TestTable(t *testing.T) {
	models := everyModel(t)
	r := rand.New(rand.NewPCG(200, 1000))
	chosen := map[string]bool{}
	for _, special := range []string{ // one of each kind at least
		"gpt-4o", "gpt-6-luna", "claude-haiku-5-5", "gemini-3-pro-image", "gpt-image-1", "whisper-1", "tts-1", "gpt-4o-mini-tts",
		"gpt-4o-transcribe", "rerank-v3.5", "dashscope/qwen3-coder-flash", "perplexity/sonar-deep-research", "multimodalembedding",
		"azure/hd/1024-x-1024/dall-e-3", "perplexity/pplx-70b-online", "deepseek/deepseek-chat", "azure/container",
	} {
		if !slices.Contains(models, special) {
			t.Errorf("%s is not in the table", special)
		}
		chosen[special] = true
	}
	for len(chosen) < 200 {
		chosen[models[r.IntN(len(models))]] = true
	}
	paid, calls := 0, min(tuples(20_000)/200, 1000)
	for name := range chosen {
		e, ok := price.Lookup(name, "")
		if !ok {
			t.Fatal(name)
		}
		p, err := price.Compile(e.Fields, "test")
		if err != nil {
			t.Fatal(name, err)
		}
		for range calls {
			u := randomUsage(r, r.IntN(3) == 0)
			u.Tier = llm.Tier(r.IntN(int(llm.TierOffPeak)))
			got, _ := p.Cost(&u)
			want := new(big.Rat)
			if u != (llm.Usage{Tier: u.Tier, SearchSize: u.SearchSize}) {
				want = newReference(e.Fields, &u).cost(&u)
			}
			if n := nanos(want); n == nil || int64(got) != min(n.Int64(), int64(price.Dearest)) {
				t.Fatalf("%s: %d, want %v\n%s\n%s", name, got, n, dump(e.Fields), dump(u))
			}
			if got > 0 {
				paid++
			}
		}
	}
	if paid < 100*calls {
		t.Errorf("%d of %d calls cost anything", paid, 200*calls)
	}
	t.Logf("%d of %d calls cost something", paid, calls*len(chosen))
}

// TestEveryEntry: each entry of the table compiles, and its document is short
// enough for a record of the journal.
func TestEveryEntry(t *testing.T) {
	longest, of := 0, ""
	for _, name := range everyModel(t) {
		e, _ := price.Lookup(name, "")
		source, date := price.About()
		p, err := price.Compile(e.Fields, source+", "+date+", "+name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n := len(p.Document()); n > longest {
			longest, of = n, name
		}
	}
	if longest >= 4000 {
		t.Errorf("%s: %d bytes", of, longest)
	}
	t.Logf("longest: %s, %d bytes", of, longest)
}

func everyModel(t *testing.T) []string {
	t.Helper()
	names := price.Names()
	if len(names) < 4000 || !slices.IsSorted(names) || strings.Contains(names[0], "\t") {
		t.Fatal(len(names), names[0])
	}
	return names
}
