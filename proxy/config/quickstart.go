package config

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"sluice/internal/env"
)

// fromFlags adds the model of --model, which then is the model of every
// request, and what else flags say over the file.
func (f *File) fromFlags(r *report, flags *Flags) {
	if flags.RequestTimeout != nil {
		s := setting{report: r, environ: f.Environ}
		f.LiteLLM.RequestTimeout = s.seconds(f.LiteLLM.RequestTimeout, flags.RequestTimeout, "request_timeout", "", "")
	}
	f.LiteLLM.DropParams = f.LiteLLM.DropParams || flags.DropParams
	if flags.Model == "" {
		return
	}
	d := &Deployment{At: Pos{File: "--model"}, Name: flags.Model}
	if flags.Alias != "" {
		d.Name = flags.Alias
	}
	d.ID = d.Name
	p := &d.Params
	p.Model, p.APIBase, p.APIVersion = flags.Model, flags.APIBase, flags.APIVersion
	if p.APIBase != "" {
		checkURL(r, Pos{File: "--api_base"}, "", p.APIBase)
	}
	if flags.Temperature != nil {
		p.Defaults = append(p.Defaults, Field{"temperature", strconv.AppendFloat(nil, *flags.Temperature, 'g', -1, 64)})
	}
	if flags.MaxTokens != nil {
		p.Defaults = append(p.Defaults, Field{"max_tokens", strconv.AppendInt(nil, int64(*flags.MaxTokens), 10)})
	}
	if flags.Headers != "" {
		var headers map[string]string
		if err := json.Unmarshal([]byte(flags.Headers), &headers); err != nil {
			r.errorf(Pos{File: "--headers"}, "", "a JSON object of texts", "cannot be read")
		}
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			p.ExtraHeaders = append(p.ExtraHeaders, Header{name, env.Secret(headers[name])})
		}
	}
	f.Models = append([]*Deployment{d}, f.Models...)
	if f.General.CompletionModel == "" {
		f.General.CompletionModel = d.Name
	}
}
