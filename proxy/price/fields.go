package price

import (
	"strconv"
	"strings"

	"sluice/proxy/llm"
)

// component is one thing that is billed by the unit.
type component uint8

// Components. Tokens first.
const (
	cInput component = iota
	cCacheRead
	cCacheReadAudio
	cCacheReadImage
	cCacheWrite
	cCacheWriteHour
	cAudioIn
	cImageIn
	cVideoIn
	cOutput
	cReasoning
	cAudioOut
	cImageOut
	cVideoOut
	cCitation
	cPictureIn
	cPicture
	cPixel
	cPixelOut
	cSecond
	cAudioSecond
	cSecondOut
	cVideoSecond
	cCharacter
	cCharacterOut
	cQuery
	cSearchLow
	cSearchMedium
	cSearchHigh
	cMap
	cFileSearch // a thousand
	cSession
	cPage
	cAnnotated
	cRequest
	components
)

// componentFields are the fields that say what a component costs, in dollars.
var componentFields = [components]string{
	cInput:          "input_cost_per_token",
	cCacheRead:      "cache_read_input_token_cost",
	cCacheReadAudio: "cache_read_input_audio_token_cost",
	cCacheReadImage: "cache_read_input_image_token_cost",
	cCacheWrite:     "cache_creation_input_token_cost",
	cCacheWriteHour: "cache_creation_input_token_cost_above_1hr",
	cAudioIn:        "input_cost_per_audio_token",
	cImageIn:        "input_cost_per_image_token",
	cVideoIn:        "input_cost_per_video_token",
	cOutput:         "output_cost_per_token",
	cReasoning:      "output_cost_per_reasoning_token",
	cAudioOut:       "output_cost_per_audio_token",
	cImageOut:       "output_cost_per_image_token",
	cVideoOut:       "output_cost_per_video_token",
	cCitation:       "citation_cost_per_token",
	cPictureIn:      "input_cost_per_image",
	cPicture:        "output_cost_per_image",
	cPixel:          "input_cost_per_pixel",
	cPixelOut:       "output_cost_per_pixel",
	cSecond:         "input_cost_per_second",
	cAudioSecond:    "input_cost_per_audio_per_second",
	cSecondOut:      "output_cost_per_second",
	cVideoSecond:    "input_cost_per_video_per_second",
	cCharacter:      "input_cost_per_character",
	cCharacterOut:   "output_cost_per_character",
	cQuery:          "input_cost_per_query",
	cSearchLow:      "search_context_size_low", // inside searchField
	cSearchMedium:   "search_context_size_medium",
	cSearchHigh:     "search_context_size_high",
	cMap:            "google_maps_grounding_cost_per_query",
	cFileSearch:     "file_search_cost_per_1k_calls",
	cSession:        "code_interpreter_cost_per_session",
	cPage:           "ocr_cost_per_page",
	cAnnotated:      "annotation_cost_per_page",
	cRequest:        "input_cost_per_request",
}

// Fields that hold more than a number.
const (
	searchField  = "search_context_cost_per_query"
	tieredField  = "tiered_pricing"
	offPeakField = "off_peak_pricing"
	modeField    = "mode"
	// cacheHitField is another name of cCacheRead's, which older entries have.
	cacheHitField = "input_cost_per_token_cache_hit"
)

// Fields of ours, which adjust what the others come to.
const (
	ownField        = "custom_pricing"           // true: the deployment says what it costs, whatever its provider charges
	discountField   = "cost_discount"            // fraction of the cost, 0 to 1
	marginField     = "cost_margin_percentage"   // fraction of what the discount leaves
	marginFlatField = "cost_margin_fixed_amount" // dollars a call
	upliftField     = "cost_uplift"              // factor of the region
)

var componentNamed = func() map[string]component {
	names := make(map[string]component, components)
	for c, name := range componentFields {
		names[name] = component(c)
	}
	for _, c := range [...]component{cSearchLow, cSearchMedium, cSearchHigh} {
		delete(names, componentFields[c])
	}
	return names
}()

// tierSuffixes are how fields name tiers.
var tierSuffixes = [...]struct {
	suffix string
	tier   llm.Tier
}{
	{"_batches", llm.TierBatch},
	{"_flex", llm.TierFlex},
	{"_priority", llm.TierPriority},
	{"_balanced", llm.TierBalanced},
	{"_ultrafast", llm.TierUltrafast},
	{"_decisions", llm.TierDecisions},
}

// place is what a field is the price of: a component, in prompts of more than
// above tokens, in a tier.
type place struct {
	component component
	tier      llm.Tier
	above     int64
}

// placeOf reads a field's name; false if the field is no price that calls are
// billed by.
func placeOf(name string) (p place, ok bool) {
	for _, s := range tierSuffixes {
		if rest, found := strings.CutSuffix(name, s.suffix); found {
			name, p.tier = rest, s.tier
			break
		}
	}
	if head, size, found := cutLast(name, "_above_"); found && strings.HasSuffix(size, "_tokens") {
		size, thousands := strings.CutSuffix(strings.TrimSuffix(size, "_tokens"), "k")
		n, err := strconv.ParseInt(size, 10, 32)
		if err != nil || n <= 0 {
			return place{}, false
		}
		if thousands {
			n *= 1000
		}
		name, p.above = head, n
	}
	p.component, ok = componentNamed[name]
	if !ok && name == cacheHitField {
		p.component, ok = cCacheRead, true
	}
	return p, ok
}

func cutLast(text, sep string) (before, after string, found bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}

// IsPrice says whether a field of a deployment is one that its calls are billed
// by, so that what a deployment says itself replaces what the table says.
func IsPrice(field string) bool {
	switch field {
	case searchField, tieredField, offPeakField:
		return true
	}
	_, ok := placeOf(field)
	return ok
}
