package llm

import "encoding/binary"

// Usage is what a call consumed, as its provider says or as it was counted for
// it. Input, Output and Total are tokens and hold all kinds of them: what is
// said to be of Input or of Output below is counted there too. What a provider
// does not bill by is 0.
type Usage struct {
	Input  int64
	Output int64
	Total  int64

	CachedIn       int64 // of Input: read from the provider's cache
	CachedAudio    int64 // of CachedIn
	CachedImage    int64 // of CachedIn
	CacheWrite     int64 // of Input: written into the provider's cache
	CacheWriteHour int64 // of CacheWrite: to stay for an hour, not for five minutes
	AudioIn        int64 // of Input, the cached ones included
	ImageIn        int64 // of Input, the cached ones included
	VideoIn        int64 // of Input
	Reasoning      int64 // of Output
	AudioOut       int64 // of Output
	ImageOut       int64 // of Output
	VideoOut       int64 // of Output
	Citations      int64 // tokens of citations, beside Input and Output

	ImagesIn      int64 // pictures that were sent, where they are billed by the piece
	Images        int64 // pictures that were made
	Pixels        int64 // of all pictures that were made
	Millis        int64 // milliseconds of audio that was heard; of the call where its time is what is billed
	MillisOut     int64 // milliseconds of audio that was made
	VideoMillis   int64 // milliseconds of video that were sent
	Characters    int64 // of text that was sent
	CharactersOut int64 // of text that was made
	Queries       int64 // search units of a rerank or search
	Searches      int64 // searches of the web that a model made
	MapQueries    int64 // queries of maps that a model made
	FileSearches  int64 // searches in files that a model made
	Sessions      int64 // of a code interpreter
	Pages         int64 // that were read
	Annotated     int64 // of Pages: with annotations

	Charged int64 // nano-dollars that the provider says it charges; means nothing unless Priced

	Tier       Tier       // class of service that the answer came from
	SearchSize SearchSize // how much context Searches brought
	Priced     bool       // Charged was said
	Estimated  bool       // counted by us because the provider did not say
	Reported   bool       // the provider said so
}

// Tier is a class of service with prices of its own. The numbers are in
// journals and never change.
type Tier uint8

// Tiers.
const (
	TierStandard Tier = iota
	TierBatch
	TierFlex
	TierPriority
	TierBalanced
	TierUltrafast
	TierDecisions
	TierOffPeak // the hours in which a provider is cheaper
	Tiers       // how many there are
)

var tierNames = [Tiers]string{"standard", "batch", "flex", "priority", "balanced", "ultrafast", "decisions", "off_peak"}

// String is the tier's name as a provider says it.
func (t Tier) String() string {
	if t >= Tiers {
		return "unknown"
	}
	return tierNames[t]
}

// TierNamed is the tier of a service_tier; names without a price of their own,
// like default, auto and scale, are TierStandard. OpenAI calls priority fast too.
func TierNamed(name []byte) Tier {
	if string(name) == "fast" {
		return TierPriority
	}
	for t, n := range tierNames {
		if string(name) == n && Tier(t) != TierOffPeak {
			return Tier(t)
		}
	}
	return TierStandard
}

// SearchSize is the amount of context that a search of the web brings. The
// numbers are in journals and never change.
type SearchSize uint8

// Sizes. SearchUnsaid is billed as SearchMedium, which is what providers do.
const (
	SearchUnsaid SearchSize = iota
	SearchLow
	SearchMedium
	SearchHigh
)

// SearchSizeNamed is the size of a search_context_size.
func SearchSizeNamed(name []byte) SearchSize {
	switch string(name) {
	case "low":
		return SearchLow
	case "medium":
		return SearchMedium
	case "high":
		return SearchHigh
	default:
		return SearchUnsaid
	}
}

// Bits of the flags of an encoded usage.
const (
	flagPriced = 1 << iota
	flagEstimated
	flagReported
)

// Numbers of what is no count in an encoded usage. Counts are numbered by
// counts, from 1.
const (
	unitFlags      = 61
	unitTier       = 62
	unitSearchSize = 63
)

// counts are the numbers of a usage in the order of their numbers in journals,
// from 1: new ones are appended, none ever moves.
func (u *Usage) counts() [31]*int64 {
	return [...]*int64{
		&u.Input, &u.Output, &u.Total, &u.CachedIn, &u.CachedAudio, &u.CachedImage, &u.CacheWrite, &u.CacheWriteHour,
		&u.AudioIn, &u.ImageIn, &u.VideoIn, &u.Reasoning, &u.AudioOut, &u.ImageOut, &u.VideoOut, &u.Citations,
		&u.ImagesIn, &u.Images, &u.Pixels, &u.Millis, &u.VideoMillis, &u.Characters, &u.CharactersOut, &u.Queries,
		&u.Searches, &u.MapQueries, &u.FileSearches, &u.Sessions, &u.Pages, &u.Annotated,
		&u.MillisOut,
	}
}

// unitCharged is the number of Charged, which has a place of its own because it
// is no count.
const unitCharged = 60

// Append appends the usage in a form of its own, which journals keep: pairs of
// a number that says what and a number that says how many, as varints. Zeros are
// left out, so that a chat takes some ten bytes. A usage without anything has
// none.
func (u *Usage) Append(dst []byte) []byte {
	for i, n := range u.counts() {
		if *n != 0 {
			dst = binary.AppendUvarint(dst, uint64(i+1))
			dst = binary.AppendVarint(dst, *n)
		}
	}
	var flags int64
	for i, set := range [...]bool{u.Priced, u.Estimated, u.Reported} {
		if set {
			flags |= 1 << i
		}
	}
	for _, p := range [...]struct {
		unit  uint64
		value int64
	}{{unitCharged, u.Charged}, {unitFlags, flags}, {unitTier, int64(u.Tier)}, {unitSearchSize, int64(u.SearchSize)}} {
		if p.value != 0 {
			dst = binary.AppendUvarint(dst, p.unit)
			dst = binary.AppendVarint(dst, p.value)
		}
	}
	return dst
}

// Read sets the usage to what Append wrote. What a later release added is
// skipped. It reports whether b was whole; if not, the usage is what stood
// before the damage.
func (u *Usage) Read(b []byte) bool {
	*u = Usage{}
	counts := u.counts()
	for len(b) > 0 {
		unit, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		value, m := binary.Varint(b[n:])
		if m <= 0 {
			return false
		}
		b = b[n+m:]
		switch {
		case unit >= 1 && unit <= uint64(len(counts)):
			*counts[unit-1] = value
		case unit == unitCharged:
			u.Charged = value
		case unit == unitFlags:
			u.Priced, u.Estimated, u.Reported = value&flagPriced != 0, value&flagEstimated != 0, value&flagReported != 0
		case unit == unitTier && value > 0 && value < int64(Tiers):
			u.Tier = Tier(value)
		case unit == unitSearchSize && value > 0 && value <= int64(SearchHigh):
			u.SearchSize = SearchSize(value)
		}
	}
	return true
}
