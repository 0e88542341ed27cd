package server

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"sluice/proxy/llm"
)

// setFields sets header fields whose names nothing else of the answer has.
// fasthttp looks each name up among all that are there and copies each field
// three times, which is much for the fields of an answer with limits; a name it
// writes as it is. So all lines but the end of the last go in as one name. What
// has line ends of its own goes in field by field: fasthttp takes them out of
// values. scratch is where the lines are made; it is returned to be used again.
func setFields(h *fasthttp.ResponseHeader, scratch []byte, fields []llm.Field) []byte {
	lines := appendLines(scratch[:0], fields)
	if ends := len(fields) - 1; ends > 0 && bytes.Count(lines, lineFeed) == ends && bytes.Count(lines, carriageReturn) == ends {
		h.SetCanonical(lines, fields[ends].Value)
		return lines
	}
	for i := range fields {
		h.SetCanonical(fields[i].Name, fields[i].Value)
	}
	return lines
}

var lineFeed, carriageReturn = []byte{'\n'}, []byte{'\r'}

// appendLines appends header lines up to the name of the last.
func appendLines(dst []byte, fields []llm.Field) []byte {
	for i := range fields {
		if i > 0 {
			dst = append(append(dst, fields[i-1].Value...), "\r\n"...)
		}
		dst = append(dst, fields[i].Name...)
		if i < len(fields)-1 {
			dst = append(dst, ": "...)
		}
	}
	return dst
}
