package price

import (
	"math"
	"strings"

	"sluice/proxy/llm"
	"sluice/proxy/money"
)

// Ask is the most that a call may use, for a reservation.
type Ask struct {
	Tier     llm.Tier // that the request asks for
	Prompt   int64    // tokens of its text, estimated: they are taken 10 % higher
	Output   int64    // tokens of the answer
	Pictures int64    // that the prompt holds
	Sound    int64    // milliseconds of sound that the prompt holds
	// Context is how many tokens a prompt of the model may have, so that pictures
	// and sound cannot be more; 0 where nobody knows.
	Context int64
}

// Most is what a call may come to at most. It is rounded up, and an upper bound
// where the text is no longer than was estimated: of the prices of text, pictures
// and sound, plain or cached, the dearest of each counts, of the answer's the
// dearest of all; of a class of service that costs less than the standard one,
// that one's, which the provider may give instead. What models do beside, like
// searches, is not in it.
func (p *Price) Most(a Ask) money.Nano {
	if p == nil || p.free {
		return 0
	}
	n := p.most(a)
	if a.Tier != llm.TierStandard {
		a.Tier = llm.TierStandard
		n = max(n, p.most(a))
	}
	return n
}

func (p *Price) most(a Ask) money.Nano {
	const bound = math.MaxInt32 << 8
	text, output := clamp(a.Prompt, bound), clamp(a.Output, bound)
	text += (text + 9) / 10
	pictures, millis := clamp(a.Pictures, math.MaxInt32), clamp(a.Sound, bound)
	seen, heard := pictures*p.perPicture, (millis*p.perSecond+999)/1000
	if a.Context > 0 {
		heard = min(heard, a.Context)
		seen = min(seen, a.Context-heard)
	}
	var t tally
	s := p.sheet(&llm.Usage{Input: text + seen + heard, Tier: a.Tier})
	plain := s.dearest(cInput, cCacheRead, cCacheWrite, cCacheWriteHour)
	t.add(plain, text)
	t.add(dearer(plain, s.dearest(cImageIn, cCacheReadImage)), seen)
	t.add(dearer(plain, s.dearest(cAudioIn, cCacheReadAudio)), heard)
	t.add(s.rates[cPictureIn], pictures)
	if s.rates[cInput].zero() { // else seconds are not billed
		t.add(s.rates[cSecond], millis)
	}
	t.add(s.dearest(cOutput, cReasoning, cAudioOut, cImageOut, cVideoOut), output)
	t.add(s.rates[cRequest], 1)
	decimals := fine
	for _, factor := range [...]uint64{p.uplift, p.discount, p.margin} {
		if factor != one {
			t.sum.mul(factor)
			decimals += 9
		}
	}
	flat := wide{p.flat.lo, p.flat.hi}
	for d := fine; d < decimals; d += 9 {
		flat.mul(one)
	}
	t.sum.plus(&flat)
	n, _ := t.sum.nano(decimals, upwards)
	return n
}

func (s *sheet) dearest(of ...component) rate {
	var most rate
	for _, c := range of {
		most = dearer(most, s.rates[c])
	}
	return most
}

func dearer(a, b rate) rate {
	if a.less(b) {
		return b
	}
	return a
}

// appetite is how many tokens models take pictures and sound for, at most, by
// what their names hold; the first that fits counts. It is what their makers
// publish: of OpenAI's models that see tiles 85 tokens and 170 for each of at most
// 8 (gpt-4o-mini 2,833 and 5,667), of those that see patches at most 1,536 times
// 2.46; of Claude at most 4,784; the most that any other model is known to take is
// 16,384 (Qwen-VL). A second of sound is 10 tokens for OpenAI's models and 32 for
// Gemini, the most that is known.
var appetite = [...]struct {
	name                  string
	perPicture, perSecond int64
}{
	{"gpt-4o-mini", 48_169, 10},
	{"gpt-4", 4096, 10},
	{"gpt-", 16_384, 10},
	{"claude", 5000, 32},
	{"", 16_384, 32},
}

// takes notes what the model of a price takes pictures and sound for.
func (p *Price) takes(model string) {
	model = strings.ToLower(model)
	for _, a := range appetite {
		if strings.Contains(model, a.name) {
			p.perPicture, p.perSecond = a.perPicture, a.perSecond
			return
		}
	}
}
