package jsonscan

import "sluice/proxy/llm"

// Sort brings edits into the order of their places. Those at the same place
// keep their order, insertions before what replaces the bytes that follow.
func Sort(edits []llm.Edit) {
	for i := 1; i < len(edits); i++ {
		for k := i; k > 0 && before(edits[k].Span, edits[k-1].Span); k-- {
			edits[k], edits[k-1] = edits[k-1], edits[k]
		}
	}
}

func before(a, b llm.Span) bool {
	if a.From != b.From {
		return a.From < b.From
	}
	return a.To == a.From && b.To > b.From
}

// Splice appends the pieces of body with the edits applied to dst: no byte of
// body is copied. The edits are sorted and do not overlap.
func Splice(dst [][]byte, body []byte, edits []llm.Edit) [][]byte {
	at := 0
	for i := range edits {
		e := &edits[i]
		if e.Span.From > at {
			dst = append(dst, body[at:e.Span.From])
		}
		if len(e.With) > 0 {
			dst = append(dst, e.With)
		}
		at = e.Span.To
	}
	if at < len(body) {
		dst = append(dst, body[at:])
	}
	return dst
}

// AppendCuts appends the edits that take the members marked by cut out of an
// object, each with one comma.
func AppendCuts(edits []llm.Edit, members []llm.Member, cut func(m *llm.Member) bool) []llm.Edit {
	for i := 0; i < len(members); i++ {
		if !cut(&members[i]) {
			continue
		}
		first := i
		for i+1 < len(members) && cut(&members[i+1]) {
			i++
		}
		e := llm.Edit{Span: llm.Span{From: members[first].Key.From, To: members[i].Value.To}}
		switch {
		case i+1 < len(members):
			e.Span.To = members[i+1].Key.From
		case first > 0:
			e.Span.From = members[first-1].Value.To
		}
		edits = append(edits, e)
	}
	return edits
}
