package price

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/proxy/llm"
)

// Price is what a deployment's calls cost. It is immutable. A nil Price is that
// of a model of which nothing is known: nothing is charged but what a provider
// says itself.
type Price struct {
	version  int64
	document []byte
	source   string

	// sheets are the rates of each size of prompt, in the order of bands, and in
	// each of these of each tier that has prices of its own, the standard first.
	sheets []sheet
	bands  []int64          // prompts of more tokens than this; the first is -1
	column [llm.Tiers]uint8 // of a tier in each band; 0 is the standard one's

	peak *offPeak // nil: one price all day

	perPicture, perSecond int64 // tokens that a picture, a second of sound may be taken for; no part of the document

	own      bool
	free     bool
	known    bool   // something has a price, be it 0
	uplift   uint64 // factors, in 10⁻⁹
	discount uint64 // what the discount leaves
	margin   uint64 // one and the margin
	flat     rate   // dollars a call
}

// sheet is what each component costs. known has a bit for each that has a price,
// be it zero.
type sheet struct {
	rates [components]rate
	known uint64
}

func (s *sheet) has(c component) bool { return s.known>>c&1 == 1 }

func (s *sheet) set(c component, r rate) {
	s.rates[c] = r
	s.known |= 1 << c
}

// one is a factor of one.
const one = 1_000_000_000

// form is a document: what a price follows from, numbers in one way of writing
// them, names in order. Of fields it holds those alone that calls are billed by.
type form struct {
	Source string                     `json:"source,omitempty"`
	Fields map[string]json.RawMessage `json:"fields"`
}

// longestSource bounds what a document says of where it comes from, in bytes.
const longestSource = 200

// Compile makes a price of an entry's fields: those of the table, overlaid by
// what the deployment says itself (Overlay), and adjustments (Adjust). source
// says where the fields come from. The error names the field.
func Compile(fields map[string]json.RawMessage, source string) (*Price, error) {
	p := &Price{source: source[:min(len(source), longestSource)], uplift: one, discount: one, margin: one}
	p.takes("")
	f := form{Source: p.source, Fields: map[string]json.RawMessage{}}
	c := compiler{price: p, rates: map[place]rate{}, kept: f.Fields}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := c.field(name, fields[name]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	c.sheets()
	document, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("document of a price: %w", err)
	}
	sum := sha256.Sum256(document)
	p.document, p.version = document, int64(binary.BigEndian.Uint64(sum[:])>>1)
	return p, nil
}

// Read makes the price of a document again. Its version and costs are the same.
func Read(document []byte) (*Price, error) {
	var f form
	if err := json.Unmarshal(document, &f); err != nil {
		return nil, fmt.Errorf("document of a price: %w", err)
	}
	return Compile(f.Fields, f.Source)
}

// Version is the first 63 bits of the SHA-256 of the document; 0 of a nil Price.
func (p *Price) Version() int64 {
	if p == nil {
		return 0
	}
	return p.version
}

// Document is all that the price follows from, as JSON: less than 4,000 bytes
// for each entry of the table. It must not be changed.
func (p *Price) Document() []byte {
	if p == nil {
		return nil
	}
	return p.document
}

// Source says where the price comes from.
func (p *Price) Source() string {
	if p == nil {
		return ""
	}
	return p.source
}

// compiler collects the rates of a price.
type compiler struct {
	price *Price
	rates map[place]rate
	kept  map[string]json.RawMessage
	image bool // input_cost_per_image is of pictures that are made
}

// field takes one field in. Those that calls are not billed by are left out.
func (c *compiler) field(name string, raw json.RawMessage) error {
	if string(raw) == "null" {
		return nil
	}
	switch name {
	case searchField:
		return c.searches(raw)
	case tieredField:
		return c.ranges(raw)
	case offPeakField:
		return c.offPeak(raw)
	case modeField:
		return c.mode(raw)
	case ownField:
		c.price.own = string(raw) == "true"
		if c.price.own {
			c.kept[name] = raw
		}
		return nil
	case discountField, marginField, marginFlatField, upliftField:
		return c.adjustment(name, raw)
	}
	p, ok := placeOf(name)
	if !ok {
		return nil
	}
	r, text, err := rateOf(raw)
	if err != nil {
		return err
	}
	if name == cacheHitField {
		if _, set := c.kept[componentFields[cCacheRead]]; set { // sorted before
			return nil
		}
	}
	return c.set(p, r, name, text)
}

// set notes a rate of so many units as the field counts.
func (c *compiler) set(p place, r rate, name string, text json.RawMessage) error {
	r, err := perUnit(p.component, r)
	if err != nil {
		return err
	}
	c.rates[p] = r
	if name != "" {
		c.kept[name] = text
	}
	return nil
}

// perUnit is a field's rate as one of what Usage counts.
func perUnit(c component, r rate) (rate, error) {
	switch c {
	case cSecond, cAudioSecond, cSecondOut, cVideoSecond, cFileSearch:
		r, exact := r.over(1000)
		if !exact {
			return r, errFine
		}
		return r, nil
	default:
		return r, nil
	}
}

// rateOf reads a price, and writes it as documents do. A text with a number in
// it is one too: that is what the environment gives.
func rateOf(raw json.RawMessage) (rate, json.RawMessage, error) {
	text := string(raw)
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(raw, &text); err != nil {
			return rate{}, nil, errNumber
		}
		text = strings.TrimSpace(text)
	}
	d, err := parseDecimal(strings.TrimPrefix(text, "+"))
	if err != nil {
		return rate{}, nil, err
	}
	r, err := d.scaled(fine)
	return r, d.append(nil), err
}

// mode keeps what decides how fields are read.
func (c *compiler) mode(raw json.RawMessage) error {
	switch mode := string(raw); mode {
	case `"image_generation"`, `"image_edit"`:
		c.image, c.kept[modeField] = true, raw
	}
	return nil
}

// searches takes what a search costs, by how much it brings: an object, or one
// number for all.
func (c *compiler) searches(raw json.RawMessage) error {
	if !strings.HasPrefix(string(raw), "{") {
		r, text, err := rateOf(raw)
		for _, at := range [...]component{cSearchLow, cSearchMedium, cSearchHigh} {
			c.rates[place{component: at}] = r
		}
		c.kept[searchField] = text
		return err
	}
	var sizes map[string]json.RawMessage
	if err := json.Unmarshal(raw, &sizes); err != nil {
		return err
	}
	kept := map[string]json.RawMessage{}
	for _, at := range [...]component{cSearchLow, cSearchMedium, cSearchHigh} {
		name := componentFields[at]
		if len(sizes[name]) == 0 || string(sizes[name]) == "null" {
			continue
		}
		r, text, err := rateOf(sizes[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c.rates[place{component: at}], kept[name] = r, text
	}
	return c.keep(searchField, kept)
}

// ranges takes the prices of sizes of prompts: a range holds from one token more
// than its first number to its second.
func (c *compiler) ranges(raw json.RawMessage) error {
	var tiers []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &tiers); err != nil {
		return fmt.Errorf("is not a list of ranges: %w", err)
	}
	kept := []map[string]json.RawMessage{}
	for i, t := range tiers {
		if _, ok := t["range"]; !ok {
			continue // by the number of results of a search, which is none of ours
		}
		var bounds []json.Number
		if err := json.Unmarshal(t["range"], &bounds); err != nil || len(bounds) == 0 {
			return fmt.Errorf("%d: range: is not a list of two numbers", i)
		}
		above, err := bounds[0].Int64()
		if err != nil || above < 0 {
			return fmt.Errorf("%d: range: %s is not a number of tokens", i, bounds[0])
		}
		one := map[string]json.RawMessage{"range": json.RawMessage("[" + bounds[0].String() + "]")}
		for _, name := range slices.Sorted(maps.Keys(t)) {
			p, ok := placeOf(name)
			if !ok || p.above != 0 {
				continue
			}
			r, text, err := rateOf(t[name])
			if err == nil {
				p.above = above
				err = c.set(p, r, "", nil)
			}
			if err != nil {
				return fmt.Errorf("%d: %s: %w", i, name, err)
			}
			one[name] = text
		}
		kept = append(kept, one)
	}
	return c.keep(tieredField, kept)
}

func (c *compiler) keep(name string, value any) error {
	text, err := json.Marshal(value)
	if err == nil && string(text) != "{}" && string(text) != "[]" {
		c.kept[name] = text
	}
	return err
}

// adjustment takes a field of ours in.
func (c *compiler) adjustment(name string, raw json.RawMessage) error {
	r, text, err := rateOf(raw)
	if err != nil {
		return err
	}
	c.kept[name] = text
	p := c.price
	if name == marginFlatField {
		p.flat = r
		return nil
	}
	d, _ := parseDecimal(string(text))
	factor, err := d.scaled(9)
	switch {
	case err != nil:
		return fmt.Errorf("more than 9 decimals: %w", err)
	case factor.hi != 0 || factor.lo > 999*one, name == discountField && factor.lo > one:
		return errLarge
	}
	switch name {
	case discountField:
		p.discount = one - factor.lo
	case marginField:
		p.margin = one + factor.lo
	default:
		p.uplift = factor.lo
	}
	return nil
}

// sheets lays the rates out.
func (c *compiler) sheets() {
	p := c.price
	tiers := []llm.Tier{llm.TierStandard}
	p.bands = []int64{-1}
	for at := range c.rates {
		if at.above > 0 && !slices.Contains(p.bands, at.above) {
			p.bands = append(p.bands, at.above)
		}
		if !slices.Contains(tiers, at.tier) {
			tiers = append(tiers, at.tier)
		}
	}
	slices.Sort(p.bands)
	slices.Sort(tiers)
	for i, t := range tiers {
		p.column[t] = uint8(i)
	}
	p.sheets = make([]sheet, 0, len(p.bands)*len(tiers))
	p.free = p.flat.zero()
	for band := range p.bands {
		for _, t := range tiers {
			s := c.sheet(band, t)
			for _, r := range s.rates {
				p.free = p.free && r.zero()
			}
			p.known = p.known || s.known != 0
			p.sheets = append(p.sheets, s)
		}
	}
}

// sheet is the one of a band and a tier: of each component the rate that comes
// nearest, a larger band before the tier, as LiteLLM has it.
func (c *compiler) sheet(band int, tier llm.Tier) sheet {
	var s sheet
	for at := range components {
		// Those of cheap hours hold for prompts of any size.
		if r, ok := c.rates[place{at, llm.TierOffPeak, 0}]; ok && tier == llm.TierOffPeak {
			s.set(at, r)
			continue
		}
		for b := band; b >= 0; b-- {
			above := max(c.price.bands[b], 0)
			r, ok := c.rates[place{at, tier, above}]
			if !ok {
				r, ok = c.rates[place{at, llm.TierStandard, above}]
			}
			if ok {
				s.set(at, r)
				break
			}
		}
	}
	s.complete(c.image)
	return s
}

// stands says which component's rate another one has that has none: what a
// provider does not price apart, it bills as what it is a part of. In order.
var stands = [...]struct{ component, as component }{
	// Models that answer with pictures or speech alone have one price for it.
	{cInput, cImageIn},
	{cInput, cAudioIn},
	{cOutput, cImageOut},
	{cOutput, cAudioOut},
	{cCacheRead, cInput},
	{cCacheReadAudio, cCacheRead},
	{cCacheReadImage, cCacheRead},
	{cCacheWrite, cInput},
	{cCacheWriteHour, cCacheWrite},
	{cAudioIn, cInput},
	{cImageIn, cInput},
	{cVideoIn, cInput},
	{cReasoning, cOutput},
	{cAudioOut, cOutput},
	{cImageOut, cOutput},
	{cVideoOut, cOutput},
	{cSearchMedium, cSearchLow},
	{cSearchMedium, cSearchHigh},
	{cSearchLow, cSearchMedium},
	{cSearchHigh, cSearchMedium},
	{cAnnotated, cPage},
}

// complete fills in what has no price of its own.
func (s *sheet) complete(image bool) {
	for _, e := range stands {
		if !s.has(e.component) && s.has(e.as) {
			s.set(e.component, s.rates[e.as])
		}
	}
	// Of these pairs the table gives the price in the one or the other field, or
	// in both, and means it once.
	either := func(c, other component) {
		if s.rates[c].zero() && s.has(other) {
			s.set(c, s.rates[other])
		}
	}
	if image {
		either(cPicture, cPictureIn)
	}
	either(cPixel, cPixelOut)
	either(cSecond, cAudioSecond)
	if !s.has(cInput) && !s.has(cOutput) {
		either(cSecond, cSecondOut)
	}
}
