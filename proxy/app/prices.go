package app

import (
	"encoding/json"
	"fmt"
	"strings"

	"sluice/proxy/config"
	"sluice/proxy/gateway"
	"sluice/proxy/price"
)

// prices makes the prices of deployments. Many are of one model, and a look-up
// inflates a part of the table: what was made is kept while a generation is
// built.
type prices struct {
	file    *config.File
	adjust  *price.Adjustments
	entries map[string]price.Entry
	made    map[string]*price.Price
	problem func(string)
}

// newPrices reads what the configuration adds to prices. Its error names the
// setting.
func newPrices(file *config.File, problem func(string)) (*prices, error) {
	raw := func(o config.Objects) json.RawMessage {
		if len(o) == 0 {
			return nil
		}
		b, _ := json.Marshal(o) // of values that were read as JSON
		return b
	}
	adjust, err := price.ParseAdjustments(raw(file.LiteLLM.Discounts), raw(file.LiteLLM.Margins))
	if err != nil {
		return nil, fmt.Errorf("litellm_settings: %w", err)
	}
	return &prices{file: file, adjust: adjust, entries: map[string]price.Entry{}, made: map[string]*price.Price{}, problem: problem}, nil
}

// fill gives a deployment its price: what the table says of its model, or of
// model_info.base_model, with the deployment's own prices over it. A price that
// cannot be read is said, and the deployment is served with that of the table.
func (p *prices) fill(m *gateway.Model, d *config.Deployment) {
	model, provider := m.Params.Model, m.Params.Provider
	if prefix, name, ok := strings.Cut(model, "/"); ok && provider == "" {
		provider, model = prefix, name
	}
	asked := model
	if d.Info.BaseModel != "" {
		asked = d.Info.BaseModel
	}
	own := p.own(d)
	if len(own) == 0 && strings.Contains(asked, "*") {
		m.PriceOf = p.wildcard(provider) // what it calls is known when it is called
		return
	}
	base := provider
	if d.Info.BaseModel != "" {
		base = ""
	}
	m.Price = p.price(asked, base, provider, m.Params.APIBase, own, m.Name)
}

// own are the prices that a deployment has itself; those of model_info first, so
// that litellm_params win.
func (p *prices) own(d *config.Deployment) []map[string]json.RawMessage {
	info := map[string]json.RawMessage{}
	for _, f := range d.Info.All {
		if price.IsPrice(f.Name) {
			info[f.Name] = f.JSON
		}
	}
	var out []map[string]json.RawMessage
	if len(info) > 0 {
		out = append(out, info)
	}
	if len(d.Params.Prices) > 0 {
		out = append(out, d.Params.Prices)
	}
	return out
}

// check says what is wrong with a deployment's own prices.
func (p *prices) check(own []map[string]json.RawMessage) error {
	_, err := price.Compile(price.Overlay(nil, own...), "the configuration")
	return err
}

// price finds or makes a price. nil means that nothing is known: then nothing is
// charged.
func (p *prices) price(model, look, provider, base string, own []map[string]json.RawMessage, name string) *price.Price {
	key := look + "\n" + model + "\n" + provider + "\n" + string(price.RegionOf(base))
	if len(own) == 0 {
		if made, ok := p.made[key]; ok {
			return made
		}
	}
	entry, known := p.entries[look+"\n"+model]
	if !known {
		entry, _ = price.Lookup(model, look)
		p.entries[look+"\n"+model] = entry
	}
	if entry.Fields == nil && len(own) == 0 {
		p.made[key] = nil
		return nil
	}
	source, date := price.About()
	if entry.Fields == nil {
		source = "the configuration"
	} else {
		source += ", " + date
	}
	fields := price.Overlay(entry.Fields, own...)
	adjustment := p.adjust.Of(provider)
	adjustment.Region = price.RegionOf(base)
	price.Adjust(fields, adjustment)
	made, err := price.Compile(fields, source)
	if err != nil {
		p.problem(fmt.Sprintf("model_name %q: %s; its own prices are left out", name, err))
		fields = price.Overlay(entry.Fields)
		price.Adjust(fields, adjustment)
		if made, err = price.Compile(fields, source); err != nil {
			return nil
		}
	}
	if len(own) == 0 {
		p.made[key] = made
	}
	return made
}

// wildcard gives the prices of the models that a deployment of many is called
// for.
func (p *prices) wildcard(provider string) func(model string) *price.Price {
	adjust, problem := p.adjust, p.problem
	file := p.file
	return func(model string) *price.Price {
		q := &prices{file: file, adjust: adjust, entries: map[string]price.Entry{}, made: map[string]*price.Price{}, problem: problem}
		return q.price(model, provider, provider, "", nil, model)
	}
}
