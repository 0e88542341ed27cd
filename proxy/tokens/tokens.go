// Package tokens counts tokens where a provider does not say how many there
// were. What it says is an estimate: the frame that a provider puts around
// messages is known of OpenAI's alone, and of other models the vocabulary is not
// known at all. Its vocabularies, of some 7 MB each, are part of the program and
// untouched until somebody asks; then they stay.
//
// The work is bounded: of a long text some pieces are counted, and the rest is
// taken to be like them.
package tokens

import (
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tiktoken-go/tokenizer/codec"
)

// Sizes in bytes of what is counted of a text. 32 KiB of prose take some
// 3 ms; the worst of texts, one letter alone, five times that.
const (
	whole  = 32 << 10 // up to here all of it
	pieces = 16       // else so many pieces, spread evenly
	piece  = whole / pieces
)

// vocabulary is one that is made when it is first asked for.
type vocabulary struct{ made func() *codec.Codec }

var (
	o200k  = vocabulary{sync.OnceValue(codec.NewO200kBase)}
	cl100k = vocabulary{sync.OnceValue(codec.NewCl100kBase)}
)

// older are the models, by how their names begin, that have the vocabulary
// cl100k; newer are what would be taken for one of them.
var (
	older = []string{"gpt-4", "gpt-3.5", "gpt-35", "text-embedding-", "davinci-002", "babbage-002"}
	newer = []string{"gpt-4o", "gpt-4."}
)

// of is a model's vocabulary. All models but OpenAI's older ones are counted with
// that of the newer ones: it is theirs, or as near as any that is known.
func of(model string) vocabulary {
	model = strings.ToLower(model[strings.LastIndexByte(model, '/')+1:])
	model = strings.TrimPrefix(model, "ft:")
	for _, n := range newer {
		if strings.HasPrefix(model, n) {
			return o200k
		}
	}
	for _, o := range older {
		if strings.HasPrefix(model, o) {
			return cl100k
		}
	}
	return o200k
}

// Count is the number of tokens of a text in a model's vocabulary, or in one
// that is near to it.
func Count(model, text string) int64 { return of(model).count(text) }

// Scaled is the number of tokens of a text of so many bytes of which the
// beginning is known.
func Scaled(model, beginning string, bytes int64) int64 {
	if len(beginning) == 0 || bytes <= int64(len(beginning)) {
		return Count(model, beginning)
	}
	return scale(Count(model, beginning), bytes, int64(len(beginning)))
}

func scale(n, whole, part int64) int64 {
	if whole > 1<<31 { // beyond this the product might not fit
		return whole / 4
	}
	return (n*whole + part - 1) / part
}

func (v vocabulary) count(text string) int64 {
	if text == "" {
		return 0
	}
	if len(text) <= whole {
		return v.exact(text)
	}
	var n, seen int64
	for i := range pieces {
		from := runeAt(text, i*(len(text)/pieces))
		to := runeAt(text, from+piece)
		n += v.exact(text[from:to])
		seen += int64(to - from)
	}
	return scale(n, int64(len(text)), seen)
}

// runeAt is the start of the character at an offset.
func runeAt(text string, at int) int {
	at = min(at, len(text))
	for back := 0; back < utf8.UTFMax && at > 0 && at < len(text) && !utf8.RuneStart(text[at]); back++ {
		at--
	}
	return at
}

func (v vocabulary) exact(text string) int64 {
	n, err := v.made().Count(text)
	if err != nil { // the matcher gave up, which it has no reason to
		return int64(len(text)+3) / 4
	}
	return int64(n)
}
