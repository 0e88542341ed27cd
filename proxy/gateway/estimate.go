package gateway

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"sluice/proxy/llm"
	"sluice/proxy/tokens"
)

// speech keeps of the events of a stream what their tokens can be counted from
// later, if the provider does not say: the beginning of the text, and how much
// text there was.
type speech struct {
	said int64  // bytes of text in all
	text []byte // the first of them, as JSON has them
}

// spokenKept bounds the text that is kept of a stream, in bytes.
const spokenKept = 8 << 10

// say takes what one event says.
func (s *speech) say(text []byte) {
	s.said += int64(len(text))
	if room := spokenKept - len(s.text); room > 0 {
		s.text = append(s.text, text[:min(room, len(text))]...)
	}
}

// spoken are the members of an event that hold what a model says, likeliest
// first, and arguments that of a call, of which there may be several in one.
var (
	spoken = [...][]byte{
		[]byte(`"content":"`), []byte(`"content": "`), []byte(`"reasoning_content":"`), []byte(`"reasoning":"`),
		[]byte(`"reasoning_content": "`), []byte(`"reasoning": "`), []byte(`"refusal":"`), []byte(`"refusal": "`),
	}
	arguments = []byte(`"arguments":`)
)

// said finds what an event says, the inside of a string; nowhere if it says
// nothing.
func said(data []byte) llm.Span {
	for _, name := range spoken {
		i := bytes.Index(data, name)
		if i < 0 {
			continue
		}
		from := i + len(name)
		if n := quoted(data[from:]); n > 0 {
			return llm.Span{From: from, To: from + n}
		}
	}
	return llm.Span{}
}

// hear takes all that an event says, and tells where; nowhere if it says nothing,
// or at more places than one.
func (s *speech) hear(data []byte) llm.Span {
	text := said(data)
	s.say(text.Of(data))
	places := 0
	if text.Present() {
		places++
	}
	for from := 0; ; {
		i := bytes.Index(data[from:], arguments)
		if i < 0 {
			break
		}
		from += i + len(arguments)
		for from < len(data) && space(data[from]) {
			from++
		}
		if from == len(data) || data[from] != '"' {
			continue
		}
		from++
		if n := quoted(data[from:]); n > 0 {
			places++
			text = llm.Span{From: from, To: from + n}
			s.say(text.Of(data))
			from += n
		}
	}
	if places != 1 {
		return llm.Span{}
	}
	return text
}

// form is what stood around the text of an event that was looked through: what
// stands in the same is built alike.
type form struct{ head, tail []byte }

// formMost bounds what is remembered of an event, in bytes.
const formMost = 1 << 10

func (f *form) learn(data []byte, text llm.Span) {
	if f.head, f.tail = f.head[:0], f.tail[:0]; len(data)-(text.To-text.From) <= formMost {
		f.head, f.tail = append(f.head, data[:text.From]...), append(f.tail, data[text.To:]...)
	}
}

// text is what an event says that has the form.
func (f *form) text(data []byte) ([]byte, bool) {
	from, to := len(f.head), len(data)-len(f.tail)
	if from == 0 || to < from || !bytes.Equal(data[:from], f.head) || !bytes.Equal(data[to:], f.tail) {
		return nil, false
	}
	text := data[from:to]
	return text, quoted(text) == len(text)
}

// quoted is the length of a JSON string's text that begins here.
func quoted(b []byte) int {
	for from := 0; ; {
		i := bytes.IndexByte(b[from:], '"')
		if i < 0 {
			return len(b)
		}
		from += i
		slashes := 0
		for slashes < from && b[from-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return from
		}
		from++
	}
}

// tokens is how many tokens so far, quickly: four bytes of text to a token. It
// is for figures on the way.
func (s *speech) tokens() int64 { return (s.said + 3) / 4 }

// after is how many tokens followed the first so many bytes, which are fewer than
// all.
func (s *speech) after(model string, bytes int64) int64 {
	return (s.count(model)*(s.said-bytes) + s.said - 1) / s.said
}

// count is how many tokens in all, by the model's vocabulary.
func (s *speech) count(model string) int64 {
	text := unescaped(s.text)
	if s.said <= int64(len(s.text)) {
		return tokens.Count(model, text)
	}
	return tokens.Scaled(model, text, s.said*int64(len(text))/int64(len(s.text)))
}

// unescaped is the text of a string's inside in JSON, for counting: what is cut
// off or wrong in it is taken as it stands.
func unescaped(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 == len(b) {
			out = append(out, b[i])
			continue
		}
		i++
		switch b[i] {
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case 'r':
			out = append(out, '\r')
		case 'u':
			r := escaped(b[i+1:])
			i += min(4, len(b)-1-i)
			if utf16.IsSurrogate(r) && len(b)-i > 2 && b[i+1] == '\\' && b[i+2] == 'u' {
				if both := utf16.DecodeRune(r, escaped(b[i+3:])); both != utf8.RuneError {
					r = both
					i += min(6, len(b)-1-i)
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, b[i])
		}
	}
	return string(out)
}

// escaped is the character of four hexadecimal digits, utf8.RuneError where
// there are none.
func escaped(b []byte) rune {
	if len(b) < 4 {
		return utf8.RuneError
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(n)
}

// estimate stands in for the usage of an answer whose provider reported none,
// or which ended before it could.
func (x *Exchange) estimate() {
	was := &x.Usage
	u := llm.Usage{Estimated: true, Tier: was.Tier, Charged: was.Charged, Priced: was.Priced, Searches: was.Searches, SearchSize: was.SearchSize}
	model := ""
	if x.Deployment != nil {
		model = x.Deployment.Model
	}
	if len(x.Body) > 0 {
		u.Input = tokens.Messages(model, x.Body)
	}
	if x.Streamed {
		u.Output = x.pump.spoken.count(model)
	} else {
		u.Output = tokens.Choices(model, x.choices.Of(x.whole))
	}
	u.Total = u.Input + u.Output
	x.Usage = u
	if u.Output > 0 {
		x.searched()
	}
}
