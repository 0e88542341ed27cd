package price

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Book finds the prices of deployments: in the embedded table, under a file that
// the operator may lay over it. It is safe for concurrent use. A nil Book is that
// of the table alone, without memory.
type Book struct {
	over   map[string]json.RawMessage // entries of the file, by name in small letters
	names  map[string]string          // as the file writes them
	source string                     // of the file

	mu     sync.Mutex
	found  map[string]Entry
	prices map[string]*Price
}

// longestFile bounds a file of prices, in bytes. LiteLLM's has some 3 MB.
const longestFile = 64 << 20

// remembered bounds what a Book keeps of look-ups: deployments for any model of a
// provider make as many prices as models are asked for.
const remembered = 512

// NewBook makes a book. path names a JSON object of model to fields, in the form
// of LiteLLM's model_prices_and_context_window.json; "" is none. An entry that
// says its litellm_provider stands in place of the table's, another one is laid
// over it. Where the file cannot be used as a whole, the error says why and the
// book is that of the table alone; entries that cannot be used are left out, and
// the error names the first of them and how many there are.
func NewBook(path string) (*Book, error) {
	b := &Book{found: map[string]Entry{}, prices: map[string]*Price{}}
	if path == "" {
		return b, nil
	}
	entries, err := readEntries(path)
	if err != nil {
		return b, fmt.Errorf("file of prices %s: %w; the embedded table alone is used", path, err)
	}
	b.over, b.names, b.source = map[string]json.RawMessage{}, map[string]string{}, "file "+path
	delete(entries, "sample_spec") // documentation of the fields
	var first error
	bad := 0
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		var fields map[string]json.RawMessage
		err := json.Unmarshal(entries[name], &fields)
		if err == nil {
			_, err = Compile(fields, "")
		}
		if err != nil {
			if bad++; first == nil {
				first = fmt.Errorf("model %q: %w", name, err)
			}
			continue
		}
		small := strings.ToLower(name)
		b.over[small], b.names[small] = entries[name], name
	}
	if first != nil {
		return b, fmt.Errorf("file of prices %s: %d of %d models are left out, the first: %w", path, bad, len(entries), first)
	}
	return b, nil
}

func readEntries(path string) (map[string]json.RawMessage, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, longestFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > longestFile:
		return nil, fmt.Errorf("is longer than %d MiB", longestFile>>20)
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, fmt.Errorf("is not a JSON object of models: %w", err)
	}
	return entries, nil
}

// Lookup finds what is known of a provider's model, as the function of that name
// does, and where it is from.
func (b *Book) Lookup(model, provider string) (e Entry, source string, ok bool) {
	if b == nil {
		e, ok = Lookup(model, provider)
		return e, aboutTable(), ok
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lookup(model, provider)
}

func (b *Book) lookup(model, provider string) (e Entry, source string, ok bool) {
	key := provider + "\x00" + model
	if e, ok = b.found[key]; ok {
		return e, b.sourceOf(&e), e.Name != ""
	}
	for _, name := range candidates(model, provider) {
		if e, ok = b.entry(name); ok && serves(e.Text("litellm_provider"), provider) {
			break
		}
		e, ok = Entry{}, false
	}
	if len(b.found) >= remembered {
		clear(b.found)
	}
	b.found[key] = e
	return e, b.sourceOf(&e), ok
}

// entry is one by its name: the file's, the table's, or both.
func (b *Book) entry(name string) (Entry, bool) {
	small := strings.ToLower(name)
	raw, ok := b.over[small]
	if !ok {
		return find(name)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		panic("BUG: a file of prices was not checked: " + err.Error())
	}
	if _, whole := fields["litellm_provider"]; whole {
		return Entry{Name: b.names[small], Fields: fields, over: true}, true
	}
	e, known := find(name)
	if !known {
		return Entry{Name: b.names[small], Fields: fields, over: true}, true
	}
	merged := Overlay(e.Fields, fields)
	delete(merged, ownField) // it is the table that is corrected, not the deployment
	for field, value := range fields {
		if !IsPrice(field) {
			merged[field] = value
		}
	}
	return Entry{Name: e.Name, Fields: merged, over: true}, true
}

func (b *Book) sourceOf(e *Entry) string {
	if e.over {
		return b.source
	}
	return aboutTable()
}

var aboutTable = sync.OnceValue(func() string {
	source, date := About()
	return source + ", " + date
})

// Price is what calls to a deployment cost: of a provider's model, with what the
// deployment says itself (in order, the last wins), adjusted. It is nil where
// nothing is known, nothing is said and nothing adjusted. Deployments that cost the
// same share one.
// The error names the field that is wrong.
func (b *Book) Price(model, provider string, a Adjustment, own ...map[string]json.RawMessage) (*Price, error) {
	if b == nil {
		b = &Book{found: map[string]Entry{}, prices: map[string]*Price{}}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e, source, known := b.lookup(model, provider)
	said := false
	for _, fields := range own {
		for name := range fields {
			said = said || IsPrice(name)
		}
	}
	if !known && !said && a.Discount == "" && a.Margin == "" && a.Flat == "" {
		return nil, nil
	}
	switch {
	case !known && !said:
		source = "the provider's own word"
	case !known:
		source = "the deployment"
	case said:
		source = "the deployment, " + source
	}
	fields := Overlay(e.Fields, own...)
	Adjust(fields, a)
	p, err := Compile(fields, source)
	if err != nil {
		return nil, err
	}
	p.takes(e.Name + " " + model)
	key := strconv.FormatInt(p.perPicture, 10) + " " + strconv.FormatInt(p.perSecond, 10) + " " + string(p.document)
	if same, ok := b.prices[key]; ok {
		return same, nil
	}
	if len(b.prices) >= remembered {
		clear(b.prices)
	}
	b.prices[key] = p
	return p, nil
}

// Family is the prices of a deployment that serves any model of a provider. It
// is safe for concurrent use.
type Family struct {
	book     *Book
	provider string
	adjust   Adjustment
	own      []map[string]json.RawMessage

	mu     sync.RWMutex
	prices map[string]*Price
}

// Family makes the prices of a deployment for any model of a provider. The error
// names the field that is wrong.
func (b *Book) Family(provider string, a Adjustment, own ...map[string]json.RawMessage) (*Family, error) {
	if _, err := b.Price("", provider, a, own...); err != nil {
		return nil, err
	}
	return &Family{book: b, provider: provider, adjust: a, own: own, prices: map[string]*Price{}}, nil
}

// Of is the price of one model; nil where nothing is known of it.
func (f *Family) Of(model []byte) *Price {
	f.mu.RLock()
	p, ok := f.prices[string(model)]
	f.mu.RUnlock()
	if ok {
		return p
	}
	name := string(model)
	p, err := f.book.Price(name, f.provider, f.adjust, f.own...)
	if err != nil {
		p = nil // what the deployment says was checked, and so was the table
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.prices) >= remembered {
		clear(f.prices)
	}
	f.prices[name] = p
	return p
}
