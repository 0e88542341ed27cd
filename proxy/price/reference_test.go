package price_test

import (
	"encoding/json"
	"math/big"
	"strconv"
	"strings"

	"sluice/proxy/llm"
)

// A second reading of the same rules, in rational numbers, that shares nothing
// with the package: fields are looked up by the names that the rules give them,
// for each call anew.

type reference struct {
	fields map[string]json.RawMessage
	prompt int64
	tier   string // suffix
	image  bool
}

func newReference(fields map[string]json.RawMessage, u *llm.Usage) *reference {
	suffix := map[llm.Tier]string{
		llm.TierBatch: "_batches", llm.TierFlex: "_flex", llm.TierPriority: "_priority", llm.TierBalanced: "_balanced",
		llm.TierUltrafast: "_ultrafast", llm.TierDecisions: "_decisions",
	}[u.Tier]
	mode := string(fields["mode"])
	return &reference{fields: fields, prompt: u.Input, tier: suffix, image: strings.Contains(mode, "image_")}
}

func rational(raw json.RawMessage) *big.Rat {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	r, ok := new(big.Rat).SetString(strings.Trim(string(raw), `"`))
	if !ok {
		return nil
	}
	return r
}

// field is the price that a field has for this call: of the greatest size of
// prompt that is passed, there of the tier, else of none.
func (f *reference) field(name string) *big.Rat {
	best, bound := (*big.Rat)(nil), int64(-1)
	try := func(above int64, value *big.Rat) {
		if value != nil && f.prompt > above && above > bound {
			best, bound = value, above
		}
	}
	for key, raw := range f.fields {
		rest, ok := strings.CutPrefix(key, name+"_above_")
		if !ok {
			continue
		}
		size, ok := strings.CutSuffix(strings.TrimSuffix(rest, f.tier), "k_tokens")
		n, err := strconv.ParseInt(size, 10, 64)
		if !ok || err != nil {
			continue
		}
		if tiered := rational(f.fields[name+"_above_"+size+"k_tokens"+f.tier]); tiered != nil {
			try(n*1000, tiered)
		} else {
			try(n*1000, rational(raw))
		}
	}
	var ranges []map[string]json.RawMessage
	_ = json.Unmarshal(f.fields["tiered_pricing"], &ranges)
	for _, r := range ranges {
		var bounds []int64
		if json.Unmarshal(r["range"], &bounds) == nil && len(bounds) > 0 {
			value := rational(r[name+f.tier])
			if value == nil {
				value = rational(r[name])
			}
			from := bounds[0]
			if from == 0 {
				from = -1
			}
			if from < 0 && best == nil && value != nil {
				best = value
			} else if from > 0 {
				try(from, value)
			}
		}
	}
	if best != nil {
		return best
	}
	if f.tier != "" {
		if r := rational(f.fields[name+f.tier]); r != nil {
			return r
		}
	}
	return rational(f.fields[name])
}

// first is the price of the first of several fields that has one.
func (f *reference) first(names ...string) *big.Rat {
	for _, n := range names {
		if r := f.field(n); r != nil {
			return r
		}
	}
	return nil
}

// positive is the same, where a price of zero is none.
func (f *reference) positive(names ...string) *big.Rat {
	var zero *big.Rat
	for _, n := range names {
		if r := f.field(n); r != nil && r.Sign() > 0 {
			return r
		} else if r != nil && zero == nil {
			zero = r
		}
	}
	return zero
}

func (f *reference) search(size llm.SearchSize) *big.Rat {
	name := map[llm.SearchSize]string{llm.SearchLow: "low", llm.SearchHigh: "high"}[size]
	if name == "" {
		name = "medium"
	}
	var sizes map[string]json.RawMessage
	if json.Unmarshal(f.fields["search_context_cost_per_query"], &sizes) != nil {
		return nil
	}
	return rational(sizes["search_context_size_"+name])
}

// cost is what usage comes to, in dollars.
func (f *reference) cost(u *llm.Usage) *big.Rat {
	sum := new(big.Rat)
	add := func(n int64, price *big.Rat) bool {
		if price == nil || n <= 0 {
			return false
		}
		sum.Add(sum, new(big.Rat).Mul(new(big.Rat).SetInt64(n), price))
		return true
	}
	input := f.first("input_cost_per_token", "input_cost_per_image_token", "input_cost_per_audio_token")
	output := f.first("output_cost_per_token", "output_cost_per_image_token", "output_cost_per_audio_token")
	or := func(r, other *big.Rat) *big.Rat {
		if r != nil {
			return r
		}
		return other
	}
	read := or(f.first("cache_read_input_token_cost", "input_cost_per_token_cache_hit"), input)
	write := or(f.field("cache_creation_input_token_cost"), input)
	// The prompt.
	plain := u.Input - u.CachedIn - u.CacheWrite - (u.AudioIn - u.CachedAudio) - (u.ImageIn - u.CachedImage) - u.VideoIn
	add(plain, input)
	add(u.CachedIn-u.CachedAudio-u.CachedImage, read)
	add(u.CachedAudio, or(f.field("cache_read_input_audio_token_cost"), read))
	add(u.CachedImage, or(f.field("cache_read_input_image_token_cost"), read))
	add(u.CacheWrite-u.CacheWriteHour, write)
	add(u.CacheWriteHour, or(f.field("cache_creation_input_token_cost_above_1hr"), write))
	add(u.AudioIn-u.CachedAudio, or(f.field("input_cost_per_audio_token"), input))
	add(u.ImageIn-u.CachedImage, or(f.field("input_cost_per_image_token"), input))
	add(u.VideoIn, or(f.field("input_cost_per_video_token"), input))
	// The answer.
	add(u.Output-u.Reasoning-u.AudioOut-u.ImageOut-u.VideoOut, output)
	add(u.Reasoning, or(f.field("output_cost_per_reasoning_token"), output))
	add(u.AudioOut, or(f.field("output_cost_per_audio_token"), output))
	add(u.ImageOut, or(f.field("output_cost_per_image_token"), output))
	add(u.VideoOut, or(f.field("output_cost_per_video_token"), output))
	add(u.Citations, f.field("citation_cost_per_token"))
	// Other units.
	add(1, f.field("input_cost_per_request"))
	add(u.Queries, f.field("input_cost_per_query"))
	add(u.Searches, f.search(u.SearchSize))
	add(u.MapQueries, f.field("google_maps_grounding_cost_per_query"))
	if thousand := f.field("file_search_cost_per_1k_calls"); thousand != nil {
		add(u.FileSearches, new(big.Rat).Quo(thousand, big.NewRat(1000, 1)))
	}
	add(u.Sessions, f.field("code_interpreter_cost_per_session"))
	page := f.field("ocr_cost_per_page")
	add(u.Pages-u.Annotated, page)
	add(u.Annotated, or(f.field("annotation_cost_per_page"), page))
	f.pieces(u, add, input, output)
	return sum
}

// pieces are the units that stand in for tokens.
func (f *reference) pieces(u *llm.Usage, add func(int64, *big.Rat) bool, input, output *big.Rat) {
	second := func(r *big.Rat) *big.Rat {
		if r == nil {
			return nil
		}
		return new(big.Rat).Quo(r, big.NewRat(1000, 1))
	}
	if u.Input == 0 || input == nil || input.Sign() == 0 {
		names := []string{"input_cost_per_second", "input_cost_per_audio_per_second"}
		if input == nil && output == nil {
			names = append(names, "output_cost_per_second")
		}
		add(u.Millis, second(f.positive(names...)))
		add(u.Characters, f.field("input_cost_per_character"))
	}
	if u.ImageIn == 0 {
		add(u.ImagesIn, f.field("input_cost_per_image"))
	}
	if u.VideoIn == 0 {
		add(u.VideoMillis, second(f.field("input_cost_per_video_per_second")))
	}
	if u.Output > 0 && output != nil && output.Sign() > 0 ||
		add(u.MillisOut, second(f.field("output_cost_per_second"))) || add(u.CharactersOut, f.field("output_cost_per_character")) {
		return
	}
	if pixel := f.positive("input_cost_per_pixel", "output_cost_per_pixel"); pixel != nil && pixel.Sign() > 0 && add(u.Pixels, pixel) {
		return
	}
	if f.image {
		add(u.Images, f.positive("output_cost_per_image", "input_cost_per_image"))
	} else {
		add(u.Images, f.field("output_cost_per_image"))
	}
}

// nanos is a number of dollars in nano-dollars, rounded half to even; nil where
// an int64 cannot hold it.
func nanos(dollars *big.Rat) *big.Int {
	scaled := new(big.Rat).Mul(dollars, big.NewRat(1_000_000_000, 1))
	floor := new(big.Int).Div(scaled.Num(), scaled.Denom())
	rest := new(big.Rat).Sub(scaled, new(big.Rat).SetInt(floor))
	if c := rest.Cmp(big.NewRat(1, 2)); c > 0 || c == 0 && floor.Bit(0) == 1 {
		floor.Add(floor, big.NewInt(1))
	}
	if !floor.IsInt64() {
		return nil
	}
	return floor
}
