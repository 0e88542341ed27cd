package app

import (
	"strconv"
	"strings"

	"sluice/proxy/gateway"
	"sluice/proxy/price"
	"sluice/proxy/route"
)

// limits are what the table of prices says of models.
type limits struct{ book *price.Book }

// fill puts in what the configuration leaves open about a model. base is
// model_info.base_model.
func (l limits) fill(m *gateway.Model, base string) {
	model, provider := m.Params.Model, m.Params.Provider
	if base != "" {
		model, provider = base, ""
	}
	if prefix, name, ok := strings.Cut(model, "/"); ok && provider == "" {
		provider, model = prefix, name
	}
	known := m.Info.Mode != "" && m.Info.MaxInput > 0 && m.Info.MaxOutput > 0
	if known || strings.Contains(model, "*") {
		return
	}
	e, _, _ := l.book.Lookup(model, provider)
	found := route.Limits{Mode: e.Text("mode"), MaxInput: whole(e, "max_input_tokens"), MaxOutput: whole(e, "max_output_tokens")}
	if m.Info.Mode == "" {
		m.Info.Mode = found.Mode
	}
	if m.Info.MaxInput == 0 {
		m.Info.MaxInput = found.MaxInput
	}
	if m.Info.MaxOutput == 0 {
		m.Info.MaxOutput = found.MaxOutput
	}
}

// whole is a whole number of the table; 0 where it has none.
func whole(e price.Entry, field string) int64 {
	n, err := strconv.ParseInt(e.Decimal(field), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
