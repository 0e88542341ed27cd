package app

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sluice/proxy/config"
	"sluice/proxy/gateway"
	"sluice/proxy/price"
	"sluice/proxy/provider"
)

// envPrices names a file of prices that lies over the embedded table.
const envPrices = "SLUICE_PRICES_FILE"

// prices makes the prices of deployments, for one generation of the
// configuration.
type prices struct {
	book    *price.Book
	adjust  *price.Adjustments
	lookup  provider.Lookup
	problem func(string)
	unknown []string // names of models of whose prices nothing is known
}

// unpriced says which models are charged nothing because nothing is known of
// their prices.
func (p *prices) unpriced() {
	names := slices.Compact(slices.Sorted(slices.Values(p.unknown)))
	const shown = 5
	if len(names) == 0 {
		return
	}
	text := strings.Join(names[:min(len(names), shown)], ", ")
	if more := len(names) - shown; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	p.problem("nothing is known of the prices of " + text + ": calls to them are charged what their provider says, or nothing; " +
		"give these deployments input_cost_per_token and output_cost_per_token, or base_model")
}

// newPrices reads what the configuration and the file of prices add to the
// table. A file, or a part of it, that cannot be used is said and left out; the
// error names a setting.
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
	book, err := price.NewBook(file.Environ.Get(envPrices))
	if err != nil {
		problem(err.Error())
	}
	return &prices{book: book, adjust: adjust, lookup: file.Variable, problem: problem}, nil
}

// fill gives a deployment its price: what the table says of its model, or of
// model_info.base_model, with the deployment's own prices over it. A price that
// cannot be read is said, and the deployment is served with that of the table.
func (p *prices) fill(m *gateway.Model, d *config.Deployment) {
	prefix, model, address := p.called(&m.Params)
	look := prefix
	if d.Info.BaseModel != "" {
		look, model = "", d.Info.BaseModel
	}
	own := p.own(d)
	if strings.Contains(model, "*") {
		if err := p.check(own); err != nil {
			p.leftOut(m.Name, err)
			own = nil
		}
		m.PriceOf = p.wildcard(own) // what it calls is known when it is called
		return
	}
	m.Price = p.price(model, look, prefix, address, own, m.Name)
	if !m.Price.Known() && m.Params.Mock == nil {
		p.unknown = append(p.unknown, m.Name)
	}
}

// called is who serves a deployment, under which name, and where.
func (p *prices) called(d *provider.Params) (prefix, model, address string) {
	if t, err := provider.Bind(*d, p.lookup); err == nil {
		return t.Provider, strings.TrimPrefix(d.Model, t.Provider+"/"), t.BaseURL
	}
	prefix, model = d.Provider, d.Model
	if head, name, ok := strings.Cut(model, "/"); ok && prefix == "" {
		prefix, model = head, name
	}
	return prefix, model, d.APIBase
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
func (p *prices) price(model, look, prefix, address string, own []map[string]json.RawMessage, name string) *price.Price {
	adjustment := p.adjust.Of(prefix)
	adjustment.Region = price.RegionOf(address)
	made, err := p.book.Price(model, look, adjustment, own...)
	if err == nil {
		return made
	}
	p.leftOut(name, err)
	if made, err = p.book.Price(model, look, adjustment); err != nil {
		return nil
	}
	return made
}

// leftOut says that a deployment's own prices cannot be used.
func (p *prices) leftOut(name string, err error) {
	p.problem(fmt.Sprintf("model_name %q: %s; its own prices are left out", name, err))
}

// wildcard gives the prices of the models that a deployment of many is called
// for.
func (p *prices) wildcard(own []map[string]json.RawMessage) func(t *provider.Target, model string) *price.Price {
	return func(t *provider.Target, model string) *price.Price {
		return p.price(model, t.Provider, t.Provider, t.BaseURL, own, model)
	}
}
