package price

import (
	"encoding/json"
	"testing"

	"sluice/proxy/llm"
	"sluice/proxy/money"
)

// TestUnknown: of a model of which nothing is known, what the provider says it
// charges is charged, less the discount and with the margin; nothing else is, and
// the document says the same. A price of 0 is known.
func TestUnknown(t *testing.T) {
	charged := llm.Usage{Input: 100, Output: 50, Total: 150, Reported: true, Charged: 10_000_000, Priced: true}
	counted := charged
	counted.Charged, counted.Priced = 0, false
	var book *Book
	for _, c := range []struct {
		own               string
		adjust            Adjustment
		known             bool
		charged, counted  money.Nano
		discount, margins money.Nano
	}{
		{``, Adjustment{}, false, 10_000_000, 0, 0, 0},
		{``, Adjustment{Margin: "0.5"}, false, 15_000_000, 0, 0, 5_000_000},
		{``, Adjustment{Discount: "0.1", Margin: "0.5", Flat: "0.001"}, false, 14_500_000, 0, 1_000_000, 5_500_000},
		{`{"input_cost_per_token":0}`, Adjustment{Margin: "0.5"}, true, 0, 0, 0, 0},
		{`{"input_cost_per_token":0}`, Adjustment{Flat: "0.001"}, true, 1_000_000, 1_000_000, 0, 1_000_000},
	} {
		var own []map[string]json.RawMessage
		if c.own != "" {
			own = append(own, fieldsOf(t, c.own))
		}
		p, err := book.Price("nobody-knows-this", "openrouter", c.adjust, own...)
		if err != nil || p.Known() != c.known {
			t.Fatalf("%+v: known %t, %v", c, p.Known(), err)
		}
		for _, p := range []*Price{p, again(t, p)} {
			got, exact := p.Cost(&charged)
			parts := p.Costs(&charged)
			if got != c.charged || exact == c.known || parts.Discount != c.discount || parts.Margin != c.margins {
				t.Errorf("%+v: charged %d, exact %t, %+v", c, got, exact, parts)
			}
			if got, exact := p.Cost(&counted); got != c.counted || exact && !c.known {
				t.Errorf("%+v: counted %d, exact %t", c, got, exact)
			}
		}
	}
}

// again is the price that its document says.
func again(t *testing.T, p *Price) *Price {
	t.Helper()
	if p == nil {
		return nil
	}
	read, err := Read(p.Document())
	if err != nil || read.Version() != p.Version() || read.Known() != p.Known() {
		t.Fatalf("%s: %v", p.Document(), err)
	}
	return read
}
