// Package price is what models cost and what they can do: LiteLLM's table of
// some 4,200 models, embedded. It stays compressed and untouched until it is
// asked for; a look-up inflates the one block of 64 models that holds the
// answer and keeps nothing. A Book finds in it, or in a file over it, what the
// calls of a deployment cost: a Price, which is exact, has a version, and can be
// made again from its document. docs/prices.md has the rules.
package price

import (
	"compress/flate"
	_ "embed" // the table
	"encoding/json"
	"hash/fnv"
	"io"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// table is made by generate.go from a file that is not kept here, for instance
//
//	go run generate.go -from model_prices.json -source "model prices and limits of LiteLLM 1.106.2" -date 2026-11-21
//
// It is: the magic, the lengths of what follows (about, places, blocks), about
// as JSON, the places (hash of the name in small letters, number of the block)
// in the order of the hashes, where each block begins and the last one ends, the
// blocks. Numbers are big-endian. A block is deflated lines of name, tab, JSON.
//
//go:embed table.bin
var table string

const (
	magic     = "SLPRICE1"
	head      = len(magic) + 12
	placeSize = 6
)

// Entry is a model of the table.
type Entry struct {
	Name   string // in the table
	Fields map[string]json.RawMessage
	over   bool // from a file, not from the table
}

// About says what the table was made from and of which day it is.
func About() (source, date string) {
	var about struct{ Source, Date string }
	if err := json.Unmarshal([]byte(table[head:head+number(len(magic))]), &about); err != nil {
		panic("BUG: the table of prices does not say what it is: " + err.Error())
	}
	return about.Source, about.Date
}

// Lookup finds what is known of a provider's model. provider may be empty; a
// model that another provider serves is not found. Names that a provider derives
// from one model (a region, a version, a fine-tuned copy) find that model.
func Lookup(model, provider string) (Entry, bool) {
	for _, name := range candidates(model, provider) {
		if e, ok := find(name); ok && serves(e.Text("litellm_provider"), provider) {
			return e, true
		}
	}
	return Entry{}, false
}

// Text is a field that is a text; "" where it is missing or none.
func (e Entry) Text(field string) (text string) {
	if raw := e.Fields[field]; len(raw) > 0 && raw[0] == '"' {
		_ = json.Unmarshal(raw, &text) // a text, as its first byte says
	}
	return text
}

// Decimal is a number as its exact decimal text, 2.5e-06 for example, because
// prices of a token are finer than any amount of money; "" where the field is
// missing or no number.
func (e Entry) Decimal(field string) string {
	raw := string(e.Fields[field])
	if raw == "" || raw[0] != '-' && (raw[0] < '0' || raw[0] > '9') {
		return ""
	}
	return raw
}

// Bool is true where the field is.
func (e Entry) Bool(field string) bool { return string(e.Fields[field]) == "true" }

var (
	vertexVersion = regexp.MustCompile(`[-@]\d{3,}$`)
	bedrockRegion = regexp.MustCompile(`^(us|eu|apac|au|jp|ca|sa|global|us-gov)\.`)
)

// candidates are the names that a model may have in the table, best first.
func candidates(model, provider string) []string {
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	both := func(name string) {
		if provider != "" {
			add(provider + "/" + strings.TrimPrefix(name, provider+"/"))
		}
		add(strings.TrimPrefix(name, provider+"/"))
	}
	both(model)
	switch base := model[strings.LastIndexByte(model, '/')+1:]; {
	case strings.HasPrefix(base, "ft:"): // ft:gpt-4o:organization::id
		if kind, _, ok := strings.Cut(base[len("ft:"):], ":"); ok {
			both("ft:" + kind)
		}
	case strings.HasPrefix(provider, "bedrock"):
		add(bedrockRegion.ReplaceAllString(base, ""))
	case strings.HasPrefix(provider, "vertex_ai"), provider == "gemini":
		both(vertexVersion.ReplaceAllString(base, ""))
	case provider == "fireworks_ai":
		both(base)
	}
	add(sizeName(model, provider))
	return names
}

// serves says whether a model of the table is one of the provider's. The table
// tells kinds of a provider's models apart, as in bedrock_converse.
func serves(entry, provider string) bool {
	switch rest, ok := strings.CutPrefix(entry, provider); {
	case provider == "", entry == "", provider == "litellm_proxy", ok && rest == "":
		return true
	case provider == "azure_ai" && (entry == "azure" || entry == "openai"):
		return true
	default:
		return ok && (rest[0] == '-' || rest == "_converse" || rest == "_chat" || rest == "_text")
	}
}

// find looks a name up, in any case: no two names of the table differ by that
// alone.
func find(name string) (Entry, bool) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(strings.ToLower(name)))
	hash := int(h.Sum32())
	about, places, blocks := number(len(magic)), number(len(magic)+4), number(len(magic)+8)
	at := func(i int) int { return head + about + i*placeSize }
	offsets := at(places)
	data := offsets + (blocks+1)*4
	for i := sort.Search(places, func(i int) bool { return number(at(i)) >= hash }); i < places && number(at(i)) == hash; i++ {
		block := int(table[at(i)+4])<<8 | int(table[at(i)+5])
		for line := range strings.Lines(inflate(table[data+number(offsets+block*4) : data+number(offsets+block*4+4)])) {
			is, fields, _ := strings.Cut(line, "\t")
			if !strings.EqualFold(is, name) {
				continue
			}
			e := Entry{Name: strings.Clone(is)}
			if err := json.Unmarshal([]byte(fields), &e.Fields); err != nil {
				panic("BUG: the table of prices is damaged at " + is)
			}
			return e, true
		}
	}
	return Entry{}, false
}

// Names are the names of all models of the table, in order. It inflates all of
// it.
func Names() []string {
	about, places, blocks := number(len(magic)), number(len(magic)+4), number(len(magic)+8)
	offsets := head + about + places*placeSize
	data := offsets + (blocks+1)*4
	names := make([]string, 0, places)
	for b := range blocks {
		for line := range strings.Lines(inflate(table[data+number(offsets+b*4) : data+number(offsets+b*4+4)])) {
			name, _, _ := strings.Cut(line, "\t")
			names = append(names, strings.Clone(name))
		}
	}
	return names
}

func inflate(block string) string {
	var text strings.Builder
	text.Grow(16 * len(block)) // more than nearly all blocks need
	if _, err := io.Copy(&text, flate.NewReader(strings.NewReader(block))); err != nil {
		panic("BUG: the table of prices is damaged: " + err.Error())
	}
	return text.String()
}

// number is the big-endian number at an offset of the table.
func number(at int) int {
	return int(table[at])<<24 | int(table[at+1])<<16 | int(table[at+2])<<8 | int(table[at+3])
}
