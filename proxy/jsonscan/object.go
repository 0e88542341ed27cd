package jsonscan

import (
	"bytes"

	"sluice/proxy/llm"
)

// Object is the members of one JSON object. Its memory is reused by Scan.
type Object struct {
	Open, End int // the object's bytes, braces included
	Members   []llm.Member
	Scratch   []byte // unescaped names
	// Lenient keeps the last of several members of one name, and takes names
	// with needless escapes, instead of refusing them.
	Lenient bool
	// Shadowed counts the members that a later one of the same name replaces;
	// they are marked Ours, so that nobody reads or forwards them.
	Shadowed int
}

// NotObject is the reason of the error for a valid document of another type.
const NotObject = "an object was expected"

// Scan reads b, which must be one object and nothing else. The members alias b.
func (o *Object) Scan(b []byte) *Error {
	if bytes.HasPrefix(b, []byte("\xef\xbb\xbf")) {
		return &Error{Offset: 0, Reason: "a byte order mark is not allowed"}
	}
	s := scanner{b: b}
	end := o.scan(&s)
	if end < 0 {
		return s.failure()
	}
	if end = s.space(end); end < len(b) {
		return &Error{Offset: end, Reason: "unexpected data after the end of the document"}
	}
	return nil
}

func (o *Object) scan(s *scanner) int {
	o.Members, o.Scratch, o.Shadowed = o.Members[:0], o.Scratch[:0], 0
	i := s.space(0)
	if i < len(s.b) && s.b[i] != '{' {
		// Say that the type is wrong only of what is JSON at all.
		end, _ := s.value(i, MaxDepth)
		if end < 0 {
			return -1
		}
		return s.fail(i, NotObject)
	}
	if i >= len(s.b) {
		return s.miss(i, "")
	}
	o.Open = i
	i = s.space(i + 1)
	if i < len(s.b) && s.b[i] == '}' {
		o.End = i + 1
		return o.End
	}
	var seen uint64 // one bit for each hash of a name so far
	for {
		m := llm.Member{Key: llm.Span{From: i}}
		if i >= len(s.b) || s.b[i] != '"' {
			return s.miss(i, "a name in double quotes was expected")
		}
		end, escaped := s.str(i)
		if end < 0 {
			return -1
		}
		m.Key.To, m.Name = end, s.b[i+1:end-1]
		if escaped && !o.unescape(s, &m) {
			return -1
		}
		if i = s.colon(end); i < 0 {
			return -1
		}
		m.Value.From = i
		if i, m.Kind = s.value(i, MaxDepth-1); i < 0 {
			return -1
		}
		m.Value.To = i
		bit := uint64(1) << (hash(m.Name) & 63)
		if seen&bit != 0 && !o.unique(s, &m) {
			return -1
		}
		seen |= bit
		if len(o.Members) >= MaxMembers {
			return s.fail(m.Key.From, "more than 1024 members")
		}
		o.Members = append(o.Members, m)
		i = s.space(i)
		if i < len(s.b) && s.b[i] == ',' {
			i = s.space(i + 1)
			continue
		}
		if i >= len(s.b) || s.b[i] != '}' {
			return s.miss(i, "',' or '}' was expected")
		}
		o.End = i + 1
		return o.End
	}
}

func hash(name []byte) uint {
	h := uint(len(name)) * 7
	if len(name) > 0 {
		h += uint(name[0]) + uint(name[len(name)-1])*3 + uint(name[len(name)/2])*5
	}
	return h
}

// unescape gives a member the name that its escapes spell, and refuses those
// that could have been spelled without.
func (o *Object) unescape(s *scanner, m *llm.Member) bool {
	from := len(o.Scratch)
	o.Scratch = Unquote(o.Scratch, m.Key.Of(s.b))
	m.Name = o.Scratch[from:len(o.Scratch):len(o.Scratch)]
	if !o.Lenient && plain(m.Name) {
		s.fail(m.Key.From, "a name is spelled with escapes that it does not need")
		return false
	}
	return true
}

// plain says whether a name is one that nobody has a reason to escape: every
// name that the gateway or a provider acts on is.
func plain(name []byte) bool {
	for _, c := range name {
		if c < 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '/' || c == '<' || c == '>' || c == '&' || c == '\'' {
			return false
		}
	}
	return true
}

// unique looks for an earlier member of the same name.
func (o *Object) unique(s *scanner, m *llm.Member) bool {
	for i := range o.Members {
		if !bytes.Equal(o.Members[i].Name, m.Name) || o.Members[i].Ours {
			continue
		}
		if !o.Lenient {
			s.fail(m.Key.From, "a name stands twice in the object")
			return false
		}
		o.Members[i].Ours = true
		o.Shadowed++
		return true
	}
	return true
}

// Find returns the member of that name, or nil.
func (o *Object) Find(name string) *llm.Member {
	for i := range o.Members {
		if m := &o.Members[i]; string(m.Name) == name && !m.Ours {
			return m
		}
	}
	return nil
}
