package gateway

import (
	"bytes"
	"math/bits"
	"sync/atomic"

	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

// answers is how many answers the request asks for at once. Some providers take a
// text for the number that it spells.
func (x *Exchange) answers() int64 {
	m := x.Request.Find("n")
	if m == nil {
		return 1
	}
	n := m.Value.Of(x.Body)
	switch m.Kind {
	case llm.JSONNumber:
	case llm.JSONString:
		n = bytes.TrimSpace(n[1 : len(n)-1])
	default:
		return 1
	}
	return min(max(jsonscan.Count(n), 1), maxAnswers)
}

// maxAnswers is more than any provider gives at once, and as much as a request
// may say by a number.
const maxAnswers = 10_000

// tier is the class of service that the request asks for.
func (x *Exchange) tier() llm.Tier {
	m := x.Request.Find("service_tier")
	if m == nil || m.Kind != llm.JSONString {
		return llm.TierStandard
	}
	quoted := m.Value.Of(x.Body)
	return llm.TierNamed(quoted[1 : len(quoted)-1])
}

// expectation is a moving average of the tokens of a deployment's answers, in
// 1/16 tokens; 0: nothing is known.
type expectation struct{ sum atomic.Int64 }

const firstExpectation = 256 // tokens

func (e *expectation) expected() int64 {
	if n := e.sum.Load(); n > 0 {
		return n / 16
	}
	return firstExpectation
}

// add takes an answer in. One that is lost to another goroutine does no harm.
func (e *expectation) add(tokens int64) {
	was := e.sum.Load()
	if was == 0 {
		was = firstExpectation * 16
	}
	e.sum.CompareAndSwap(e.sum.Load(), max(was+(tokens*16-was)/16, 16))
}

// promptTokens guesses the tokens of the prompt from its bytes: four of ASCII to
// a token, two of other text. Pictures and sounds that stand in it as text are
// taken out, because what they count has nothing to do with their bytes.
func (x *Exchange) promptTokens() int64 {
	var n int64
	for _, name := range promptFields {
		if m := x.Request.Find(name); m != nil {
			n += textTokens(m.Value.Of(x.Body))
		}
	}
	return n
}

var promptFields = [...]string{"messages", "tools", "functions", "response_format"}

// bytesPerToken is how much text a token is taken for.
const bytesPerToken = 4

// embeddedTokens is what a picture or a sound in a prompt is taken for.
const embeddedTokens = 1600

// largeText is the size in bytes from which a prompt is looked through for them.
const largeText = 4 << 10

func textTokens(b []byte) int64 {
	embedded := int64(0)
	skipped := 0
	for rest := b; len(rest) >= largeText; {
		at, size := nextEmbedded(rest)
		if at < 0 {
			break
		}
		embedded += embeddedTokens
		skipped += size
		rest = rest[at+size:]
	}
	other := highBytes(b) // what is embedded has none
	text := len(b) - skipped
	return embedded + int64((text-other)/bytesPerToken+other/2) + 1
}

// nextEmbedded finds what is embedded in Base64 in a text: where it begins behind
// its mark, and how long it is. at is negative where there is none.
func nextEmbedded(b []byte) (at, size int) {
	at = bytes.Index(b, embeddedMark)
	if at < 0 {
		if at = bytes.Index(b, audioMark); at < 0 {
			return -1, 0
		}
		at += len(audioMark)
	} else {
		at += len(embeddedMark)
	}
	if size = bytes.IndexByte(b[at:], '"'); size < 0 {
		size = len(b) - at
	}
	return at, size
}

var (
	embeddedMark = []byte(";base64,")
	audioMark    = []byte(`"data":"`) // input_audio
)

// highBytes counts the bytes that are not ASCII.
func highBytes(b []byte) (n int) {
	for ; len(b) >= 8; b = b[8:] {
		w := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 | uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		n += bits.OnesCount64(w & 0x8080808080808080)
	}
	for _, c := range b {
		n += int(c >> 7)
	}
	return n
}
