package price

import (
	"encoding/json"
	"strings"

	"sluice/proxy/llm"
	"sluice/proxy/money"
)

// Split is what the tokens of a call come to, apart: before discount and margin,
// each part rounded by itself.
type Split struct {
	Input      money.Nano // all of the prompt
	CacheRead  money.Nano // of Input
	CacheWrite money.Nano // of Input
	Output     money.Nano // all of the answer
	Reasoning  money.Nano // of Output

	// What one token costs, in dollars, as a JSON number; nil where there is no
	// price.
	InputRate, OutputRate, CacheReadRate, CacheWriteRate, ReasoningRate json.RawMessage
}

// Split is the parts of what usage costs.
func (p *Price) Split(u *llm.Usage) Split {
	if p == nil {
		return Split{}
	}
	s := p.sheet(u)
	part := func(add func(t *tally)) money.Nano {
		var t tally
		add(&t)
		decimals := fine
		if p.uplift != one {
			t.sum.mul(p.uplift)
			decimals += 9
		}
		n, _ := t.sum.nano(decimals, halfEven)
		return n
	}
	rate := func(c component) json.RawMessage {
		if !s.has(c) {
			return nil
		}
		return s.rates[c].number()
	}
	return Split{
		Input:      part(func(t *tally) { t.input(s, u) }),
		CacheRead:  part(func(t *tally) { t.add(s.rates[cCacheRead], clamp(u.CachedIn, u.Input)) }),
		CacheWrite: part(func(t *tally) { t.add(s.rates[cCacheWrite], clamp(u.CacheWrite, u.Input)) }),
		Output:     part(func(t *tally) { t.output(s, u) }),
		Reasoning:  part(func(t *tally) { t.add(s.rates[cReasoning], clamp(u.Reasoning, u.Output)) }),
		InputRate:  rate(cInput), OutputRate: rate(cOutput), CacheReadRate: rate(cCacheRead), CacheWriteRate: rate(cCacheWrite),
		ReasoningRate: rate(cReasoning),
	}
}

// number is the rate in dollars as a JSON number, without an exponent.
func (r rate) number() json.RawMessage {
	var digits []byte
	for ten := uint64(10); !r.zero(); {
		next, _ := r.over(ten)
		digits = append(digits, byte('0'+r.lo10()))
		r = next
	}
	for len(digits) <= fine {
		digits = append(digits, '0')
	}
	for i, j := 0, len(digits)-1; i < j; i, j = i+1, j-1 {
		digits[i], digits[j] = digits[j], digits[i]
	}
	whole, fraction := digits[:len(digits)-fine], strings.TrimRight(string(digits[len(digits)-fine:]), "0")
	if fraction == "" {
		fraction = "0"
	}
	return json.RawMessage(string(whole) + "." + fraction)
}

// lo10 is the last decimal digit.
func (r rate) lo10() uint64 {
	const over = 6 // 2⁶⁴ mod 10
	return (r.hi%10*over + r.lo%10) % 10
}
