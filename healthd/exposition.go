package main

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
)

// samples is what one process exposed: series as written (name and labels) to
// their values, families to their types. Reading a new exposition into the same
// samples allocates only for new series.
type samples struct {
	series map[string]*float64
	types  map[string]string // by family, "" when not declared
}

func newSamples() *samples {
	return &samples{series: map[string]*float64{}, types: map[string]string{}}
}

// read takes over the Prometheus text format (version 0.0.4). Lines that are
// not in that form are passed over: one bad metric must not hide the others.
func (s *samples) read(text []byte) {
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0:
		case line[0] == '#':
			s.readType(line)
		default:
			s.readSample(line)
		}
	}
}

func (s *samples) readType(line []byte) {
	rest, ok := bytes.CutPrefix(line, []byte("# TYPE "))
	if !ok {
		return
	}
	name, typ, ok := bytes.Cut(rest, []byte(" "))
	if !ok || s.types[string(name)] == string(typ) {
		return
	}
	s.types[string(name)] = string(bytes.TrimSpace(typ))
}

func (s *samples) readSample(line []byte) {
	end := seriesEnd(line)
	if end <= 0 {
		return
	}
	text := bytes.TrimSpace(line[end:])
	if i := bytes.IndexByte(text, ' '); i >= 0 {
		text = text[:i] // a timestamp follows
	}
	value, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return
	}
	if p, ok := s.series[string(line[:end])]; ok {
		*p = value
		return
	}
	s.series[string(line[:end])] = &value
}

// seriesEnd finds the end of name{labels}; label values may hold any byte, with
// \ before a quote.
func seriesEnd(line []byte) int {
	brace := bytes.IndexAny(line, "{ \t")
	if brace <= 0 {
		return -1
	}
	if line[brace] != '{' {
		return brace
	}
	quoted := false
	for i := brace + 1; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '}' && !quoted:
			return i + 1
		}
	}
	return -1
}

// nameOf is the metric name of a series.
func nameOf(series string) string {
	name, _, _ := strings.Cut(series, "{")
	return name
}

// labelled adds labels to a series.
func labelled(series, labels string) string {
	if before, ok := strings.CutSuffix(series, "{}"); ok {
		series = before
	}
	if before, ok := strings.CutSuffix(series, "}"); ok {
		return before + "," + labels + "}"
	}
	return series + "{" + labels + "}"
}

// parts of a histogram or summary that carry the family's name and a suffix.
var suffixes = []string{"_bucket", "_sum", "_count"}

// familyOf finds the family of a metric name and its type.
func (s *samples) familyOf(name string) (family, typ string) {
	if typ, ok := s.types[name]; ok {
		return name, typ
	}
	for _, suffix := range suffixes {
		if f, ok := strings.CutSuffix(name, suffix); ok {
			if typ := s.types[f]; typ == "histogram" || typ == "summary" {
				return f, typ
			}
		}
	}
	return name, ""
}

// additive says whether a series only grows and may be summed over processes.
// Where no type is declared, the name's ending tells, as the naming rules of
// Prometheus have it.
func (s *samples) additive(name string) bool {
	family, typ := s.familyOf(name)
	switch typ {
	case "counter", "histogram":
		return true
	case "summary":
		return family != name // quantiles cannot be summed
	case "gauge":
		return false
	}
	for _, suffix := range []string{"_total", "_bucket", "_sum", "_count"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// appendValue writes a number as Prometheus does: whole numbers without point.
func appendValue(b []byte, v float64) []byte {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.AppendInt(b, int64(v), 10)
	}
	switch {
	case math.IsInf(v, 1):
		return append(b, "+Inf"...)
	case math.IsInf(v, -1):
		return append(b, "-Inf"...)
	case math.IsNaN(v):
		return append(b, "NaN"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// line is one series with its value, ready to be sorted and written.
type line struct {
	family, typ string
	series      string
	value       float64
	le          float64 // of a bucket
	group       string  // series without le, of a bucket
}

// render writes families together, each under its type, buckets in order and
// never falling.
func render(lines []line) []byte {
	var b []byte
	for i := range lines {
		lines[i].le, lines[i].group = bound(lines[i].series)
	}
	slices.SortFunc(lines, func(x, y line) int {
		if c := strings.Compare(x.family, y.family); c != 0 {
			return c
		}
		if x.group != "" && y.group != "" {
			if c := strings.Compare(x.group, y.group); c != 0 {
				return c
			}
			switch {
			case x.le < y.le:
				return -1
			case x.le > y.le:
				return 1
			}
			return 0
		}
		return strings.Compare(x.series, y.series)
	})
	family, group, running := "", "", 0.0
	for _, l := range lines {
		if l.family != family && l.typ != "" {
			b = append(append(append(append(append(b, "# TYPE "...), l.family...), ' '), l.typ...), '\n')
		}
		family = l.family
		if l.group != "" {
			if l.group != group {
				running = 0
			}
			// Releases with other bounds may run side by side: a bucket is
			// never below the one before it.
			running = max(running, l.value)
			l.value = running
		}
		group = l.group
		b = append(append(b, l.series...), ' ')
		b = append(appendValue(b, l.value), '\n')
	}
	return b
}

// bound reads the label le of a cumulative bucket.
func bound(series string) (le float64, group string) {
	if !strings.HasSuffix(nameOf(series), "_bucket") {
		return 0, ""
	}
	for _, mark := range []string{`{le="`, `,le="`} {
		i := strings.Index(series, mark)
		if i < 0 {
			continue
		}
		rest := series[i+len(mark):]
		text, after, ok := strings.Cut(rest, `"`)
		if !ok {
			return 0, ""
		}
		le, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, ""
		}
		return le, series[:i+1] + after
	}
	return 0, ""
}
