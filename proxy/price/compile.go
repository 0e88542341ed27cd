package price

import (
	"encoding/json"

	"sluice/proxy/llm"
	"sluice/proxy/money"
)

// Price is what a deployment's calls cost. It is immutable. A nil Price is that
// of a model of which nothing is known: nothing is charged but what a provider
// says itself.
type Price struct {
	version  int64
	document []byte
}

// Compile makes a price of an entry's fields: those of the table, overlaid by
// what the deployment says itself (Overlay), and adjustments (Adjust). source
// says where the fields come from. The error names the field.
func Compile(fields map[string]json.RawMessage, source string) (*Price, error) {
	return &Price{}, nil
}

// Read makes the price of a document again. Its version and costs are the same.
func Read(document []byte) (*Price, error) { return &Price{document: document}, nil }

// Version is the first 63 bits of the SHA-256 of the document; 0 of a nil Price.
func (p *Price) Version() int64 {
	if p == nil {
		return 0
	}
	return p.version
}

// Document is all that the price follows from, as JSON: at most 4,000 bytes for
// each entry of the table. It must not be changed.
func (p *Price) Document() []byte {
	if p == nil {
		return nil
	}
	return p.document
}

// Cost is what usage costs, discount and margin included, and whether it is
// exact: false where a unit was used that has no price (it is not charged), or
// the sum was more than money.Nano holds (which is then the cost).
func (p *Price) Cost(u *llm.Usage) (money.Nano, bool) { return money.Nano(u.Charged), true }

// Most is what a call may come to at most, for a reservation: a prompt that was
// estimated at so many tokens, which is taken 10 % higher here, and at most so
// many tokens of output. It is rounded up.
func (p *Price) Most(prompt, output int64) money.Nano {
	return p.MostIn(llm.TierStandard, prompt, output)
}

// MostIn is Most for a request that asks for a tier.
func (p *Price) MostIn(tier llm.Tier, prompt, output int64) money.Nano { return 0 }

// Free says that calls cost nothing, whatever they use.
func (p *Price) Free() bool { return p == nil }
