package price

import (
	"sluice/proxy/llm"
	"sluice/proxy/money"
)

// Costs are the parts of what a call costs.
type Costs struct {
	Cost     money.Nano // what is charged: Original - Discount + Margin
	Original money.Nano
	Discount money.Nano
	Margin   money.Nano
	// Exact is false where a unit was used that has no price (it is not charged),
	// or a sum was more than Dearest (which it then is).
	Exact bool
	// Given says that Original is what the provider says it charges.
	Given bool
}

// Dearest is the most that one call costs, whatever its price says: no call has
// come to as much. What thousands of calls of a price that was mistyped come to is
// a sum that an amount still holds; two of the largest amounts are less than none.
const Dearest = 1_000_000 * money.Dollar

// Cost is what usage costs, discount and margin included, and whether it is
// exact: false where a unit was used that has no price (it is not charged), or
// the sum was more than Dearest (which is then the cost).
func (p *Price) Cost(u *llm.Usage) (money.Nano, bool) {
	c := p.Costs(u)
	return c.Cost, c.Exact
}

// Costs is Cost in its parts. What a provider says it charges counts before what
// its units would come to, unless the deployment has prices of its own. Each part
// is rounded half to even, once.
func (p *Price) Costs(u *llm.Usage) Costs {
	given := u.Priced && u.Charged >= 0
	if p == nil || !p.known && !given {
		c := Costs{Exact: given || *u == llm.Usage{Reported: u.Reported, Estimated: u.Estimated}}
		if given {
			c.Cost = min(money.Nano(u.Charged), Dearest)
			c.Original, c.Given, c.Exact = c.Cost, true, int64(c.Cost) == u.Charged
		}
		return c
	}
	var t tally
	if given = given && !p.own; given {
		// A nano-dollar is 10²¹ of our units.
		t.add(rate{54, 3875820019684212736}, u.Charged)
		t.used = true // be it for nothing
	} else {
		t.usage(p.sheet(u), u)
	}
	if !t.used {
		return Costs{Exact: true}
	}
	return p.adjusted(&t, given)
}

// sheet is the one that a call is billed by.
func (p *Price) sheet(u *llm.Usage) *sheet {
	tier := u.Tier
	if tier >= llm.Tiers {
		tier = llm.TierStandard
	}
	band := len(p.bands) - 1
	for band > 0 && u.Input <= p.bands[band] {
		band--
	}
	return &p.sheets[band*(len(p.sheets)/len(p.bands))+int(p.column[tier])]
}

// adjusted puts uplift, discount and margin on a sum.
func (p *Price) adjusted(t *tally, given bool) Costs {
	c := Costs{Exact: !t.unpriced, Given: given}
	round := func(w *wide, decimals int) money.Nano {
		n, ok := w.nano(decimals, halfEven)
		c.Exact = c.Exact && ok && n <= Dearest
		return min(n, Dearest)
	}
	decimals, sum := fine, t.sum
	if p.uplift != one && !given {
		sum.mul(p.uplift)
		decimals += 9
	}
	c.Original = round(&sum, decimals)
	left := c.Original
	if p.discount != one {
		sum.mul(p.discount)
		decimals += 9
		left = round(&sum, decimals)
	}
	c.Discount, c.Cost = c.Original-left, left
	if p.margin == one && p.flat.zero() {
		return c
	}
	if p.margin != one {
		sum.mul(p.margin)
		decimals += 9
	}
	flat := wide{p.flat.lo, p.flat.hi}
	for d := fine; d < decimals; d += 9 {
		flat.mul(one)
	}
	sum.plus(&flat)
	c.Cost = round(&sum, decimals)
	c.Margin = c.Cost - left
	return c
}

// tally adds up what a call used.
type tally struct {
	sum      wide
	used     bool // something was used
	unpriced bool // something that has no price was
}

func (t *tally) add(r rate, n int64) {
	if n > 0 {
		t.used = true
		if !r.zero() {
			t.sum.add(r, n)
		}
	}
}

// units adds units that stand for nothing else.
func (t *tally) units(s *sheet, c component, n int64) {
	if n > 0 {
		t.used = true
		if !s.has(c) {
			t.unpriced = true
		} else {
			t.add(s.rates[c], n)
		}
	}
}

// piece adds units that stand in for tokens, and says whether they are priced.
func (t *tally) piece(s *sheet, c component, n int64) bool {
	if n <= 0 || !s.has(c) {
		return false
	}
	t.add(s.rates[c], n)
	return true
}

// usage adds up all of a call. Counts that cannot be are taken as zero.
func (t *tally) usage(s *sheet, u *llm.Usage) {
	if t.used = *u != (llm.Usage{Reported: u.Reported, Estimated: u.Estimated, Tier: u.Tier, SearchSize: u.SearchSize}); !t.used {
		return
	}
	t.input(s, u)
	t.output(s, u)
	in, out := u.Input > 0 && !s.rates[cInput].zero(), u.Output > 0 && !s.rates[cOutput].zero()

	// What stands for a whole call, or for tokens where these are not billed.
	whole := t.piece(s, cRequest, 1)
	whole = t.piece(s, cQuery, u.Queries) || whole
	whole = t.piece(s, cPage, u.Pages-clamp(u.Annotated, u.Pages)) || whole
	whole = t.piece(s, cAnnotated, clamp(u.Annotated, u.Pages)) || whole
	heard := !in && t.piece(s, cSecond, u.Millis)
	sent := !in && t.piece(s, cCharacter, u.Characters)
	sent = u.ImageIn <= 0 && t.piece(s, cPictureIn, u.ImagesIn) || sent
	sent = u.VideoIn <= 0 && t.piece(s, cVideoSecond, u.VideoMillis) || sent
	made := !out && (t.piece(s, cSecondOut, u.MillisOut) || t.piece(s, cCharacterOut, u.CharactersOut) || t.pictures(s, u))
	if u.Input <= 0 && u.Output <= 0 {
		t.unpriced = !whole && !heard && !sent && !made &&
			u.Queries|u.Pages|u.Millis|u.Characters|u.ImagesIn|u.VideoMillis|u.MillisOut|u.CharactersOut|u.Images|u.Pixels != 0
	} else {
		t.unpriced = u.Input > 0 && !s.has(cInput) && !whole && !heard && !sent ||
			u.Output > 0 && !s.has(cOutput) && !whole && !heard && !made
	}

	t.units(s, searchComponents[u.SearchSize&3], u.Searches)
	t.units(s, cMap, u.MapQueries)
	t.units(s, cFileSearch, u.FileSearches)
	t.units(s, cSession, u.Sessions)
	t.add(s.rates[cCitation], u.Citations) // most providers that count them do not bill them
}

var searchComponents = [4]component{
	llm.SearchUnsaid: cSearchMedium, llm.SearchLow: cSearchLow, llm.SearchMedium: cSearchMedium, llm.SearchHigh: cSearchHigh,
}

// clamp is n where it can be a part of whole, else the end that is nearer.
func clamp(n, whole int64) int64 { return max(min(n, whole), 0) }

// input adds the tokens of the prompt: each once, at the price of what it is.
func (t *tally) input(s *sheet, u *llm.Usage) {
	left := max(u.Input, 0)
	take := func(n int64) int64 {
		n = clamp(n, left)
		left -= n
		return n
	}
	cached := take(u.CachedIn)
	cachedAudio := clamp(u.CachedAudio, cached)
	cachedImage := clamp(u.CachedImage, cached-cachedAudio)
	t.add(s.rates[cCacheReadAudio], cachedAudio)
	t.add(s.rates[cCacheReadImage], cachedImage)
	t.add(s.rates[cCacheRead], cached-cachedAudio-cachedImage)
	written := take(u.CacheWrite)
	hour := clamp(u.CacheWriteHour, written)
	t.add(s.rates[cCacheWriteHour], hour)
	t.add(s.rates[cCacheWrite], written-hour)
	t.add(s.rates[cAudioIn], take(u.AudioIn-cachedAudio))
	t.add(s.rates[cImageIn], take(u.ImageIn-cachedImage))
	t.add(s.rates[cVideoIn], take(u.VideoIn))
	t.add(s.rates[cInput], left)
}

// output adds the tokens of the answer likewise.
func (t *tally) output(s *sheet, u *llm.Usage) {
	left := max(u.Output, 0)
	for _, part := range [...]struct {
		component component
		n         int64
	}{{cReasoning, u.Reasoning}, {cAudioOut, u.AudioOut}, {cImageOut, u.ImageOut}, {cVideoOut, u.VideoOut}} {
		n := clamp(part.n, left)
		left -= n
		t.add(s.rates[part.component], n)
	}
	t.add(s.rates[cOutput], left)
}

// pictures adds pictures that were made, by what they are billed by.
func (t *tally) pictures(s *sheet, u *llm.Usage) bool {
	if !s.rates[cPixel].zero() && t.piece(s, cPixel, u.Pixels) {
		return true
	}
	return t.piece(s, cPicture, u.Images)
}

// Known says that something is known of what calls cost, be it that they cost
// nothing. Where it is not, what the provider says it charges is all that is
// charged, with discount and margin.
func (p *Price) Known() bool { return p != nil && p.known }

// Free says that calls cost nothing, whatever they use, unless their provider
// says so itself.
func (p *Price) Free() bool { return p == nil || p.free }

// Searched says that searches of the web have a price.
func (p *Price) Searched() bool { return p != nil && !p.sheets[0].rates[cSearchMedium].zero() }

// Timed says that calls are billed by the time that they take, not by tokens:
// Usage.Millis is to be that time.
func (p *Price) Timed() bool {
	if p == nil {
		return false
	}
	s := &p.sheets[0]
	return !s.rates[cSecond].zero() && s.rates[cInput].zero() && s.rates[cOutput].zero()
}
