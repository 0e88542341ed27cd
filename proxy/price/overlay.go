package price

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Overlay lays what a deployment says of its prices over what the table says of
// its model; the last of own wins. Prices that the table has for cases of one
// that is replaced (a larger prompt, a tier, the cache) go with it, and all of
// the table's where the deployment is billed by the time of its calls: a price of
// one's own is what is charged. A price of one's own for such a case replaces that
// of the case alone. Fields that are no prices come along.
func Overlay(table map[string]json.RawMessage, own ...map[string]json.RawMessage) map[string]json.RawMessage {
	out := maps.Clone(table)
	if out == nil {
		out = map[string]json.RawMessage{}
	}
	prices := map[string]json.RawMessage{}
	var in, answer, timed bool
	for _, fields := range own {
		for name, value := range fields {
			if !IsPrice(name) || string(value) == "null" {
				continue
			}
			prices[name] = value
			switch name {
			case tieredField:
				in, answer = in || ranged(value, cInput), answer || ranged(value, cOutput)
			case componentFields[cInput]:
				in = true
			case componentFields[cOutput]:
				answer = true
			case componentFields[cSecond], componentFields[cSecondOut]:
				timed = true
			}
		}
	}
	if len(prices) == 0 {
		return out
	}
	gone := func(name string) bool {
		at, ok := placeOf(name)
		return ok && (in && at.component <= cVideoIn || answer && at.component >= cOutput && at.component <= cVideoOut)
	}
	maps.DeleteFunc(out, func(name string, _ json.RawMessage) bool { return timed && IsPrice(name) || gone(name) })
	if in || answer {
		without(out, tieredField, gone)
		without(out, offPeakField, gone)
	}
	maps.Copy(out, prices)
	out[ownField] = json.RawMessage("true")
	return out
}

// ranged reports whether a list of ranges has a price of a component.
func ranged(raw json.RawMessage, c component) bool {
	var list []map[string]json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return true // Compile says what is wrong with it
	}
	return slices.ContainsFunc(list, func(t map[string]json.RawMessage) bool { return t[componentFields[c]] != nil })
}

// without takes the prices that are gone out of a field that holds several, and
// the field where none is left.
func without(fields map[string]json.RawMessage, name string, gone func(string) bool) {
	raw, ok := fields[name]
	if !ok {
		return
	}
	var list []map[string]json.RawMessage
	one := strings.HasPrefix(string(raw), "{")
	if one {
		list = make([]map[string]json.RawMessage, 1)
		_ = json.Unmarshal(raw, &list[0]) // of the table, which is sound
	} else {
		_ = json.Unmarshal(raw, &list)
	}
	left := false
	for _, o := range list {
		maps.DeleteFunc(o, func(name string, _ json.RawMessage) bool { return gone(name) })
		for name := range o {
			left = left || IsPrice(name)
		}
	}
	switch {
	case !left:
		delete(fields, name)
	case one:
		fields[name], _ = json.Marshal(list[0])
	default:
		fields[name], _ = json.Marshal(list)
	}
}

// Adjustment is what is taken off and put on a deployment's costs: decimal
// numbers, "" for none.
type Adjustment struct {
	Discount string // fraction of the cost: 0.05 is 5 % less
	Margin   string // fraction of what the discount leaves
	Flat     string // dollars a call
	Region   Region // where the provider serves the deployment
}

// Region is where a provider serves a deployment, where that has a price.
type Region string

// Regions: the values are the ends of the fields that have the factors.
const (
	RegionNone Region = ""
	RegionEU   Region = "regional_processing_uplift_multiplier_eu"
	RegionUS   Region = "regional_processing_uplift_multiplier_us"
)

// RegionOf is the region that a provider's address names.
func RegionOf(address string) Region {
	u, err := url.Parse(address)
	if err != nil {
		return RegionNone
	}
	switch strings.ToLower(u.Hostname()) {
	case "eu.api.openai.com":
		return RegionEU
	case "us.api.openai.com":
		return RegionUS
	default:
		return RegionNone
	}
}

// Adjust adds adjustments to an entry's fields, in place.
func Adjust(fields map[string]json.RawMessage, a Adjustment) {
	for name, text := range map[string]string{discountField: a.Discount, marginField: a.Margin, marginFlatField: a.Flat} {
		if text != "" {
			fields[name] = json.RawMessage(text)
		}
	}
	if factor, ok := fields[string(a.Region)]; ok && a.Region != RegionNone {
		fields[upliftField] = factor
	}
}

// Adjustments are cost_discount_config and cost_margin_config.
type Adjustments struct {
	discounts map[string]string
	margins   map[string]Adjustment
}

// anyProvider is the name that a margin for all providers has.
const anyProvider = "global"

// ParseAdjustments reads cost_discount_config, an object of provider to fraction,
// and cost_margin_config, an object of provider (or global) to a fraction or to
// an object of percentage, which is a fraction too, and fixed_amount, which is
// dollars a call. Either may be empty. The error names the setting.
func ParseAdjustments(discount, margin json.RawMessage) (*Adjustments, error) {
	a := &Adjustments{discounts: map[string]string{}, margins: map[string]Adjustment{}}
	var fractions map[string]json.RawMessage
	if err := object(discount, &fractions); err != nil {
		return nil, fmt.Errorf("cost_discount_config: %w", err)
	}
	for provider, raw := range fractions {
		text, err := adjustmentOf(discountField, raw)
		if err != nil {
			return nil, fmt.Errorf("cost_discount_config: %s: %w; write a fraction of 0 to 1", provider, err)
		}
		a.discounts[provider] = text
	}
	fractions = nil
	if err := object(margin, &fractions); err != nil {
		return nil, fmt.Errorf("cost_margin_config: %w", err)
	}
	for provider, raw := range fractions {
		m, err := marginOf(raw)
		if err != nil {
			return nil, fmt.Errorf("cost_margin_config: %s: %w; write a fraction, or an object of percentage and fixed_amount", provider, err)
		}
		a.margins[provider] = m
	}
	return a, nil
}

func object(raw json.RawMessage, into *map[string]json.RawMessage) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if json.Unmarshal(raw, into) != nil {
		return errors.New("is not an object of providers")
	}
	return nil
}

func marginOf(raw json.RawMessage) (a Adjustment, err error) {
	if !strings.HasPrefix(string(raw), "{") {
		a.Margin, err = adjustmentOf(marginField, raw)
		return a, err
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(raw, &parts); err != nil {
		return a, err
	}
	for name, value := range parts {
		switch name {
		case "percentage":
			a.Margin, err = adjustmentOf(marginField, value)
		case "fixed_amount":
			a.Flat, err = adjustmentOf(marginFlatField, value)
		default:
			err = errors.New("is unknown")
		}
		if err != nil {
			return a, fmt.Errorf("%s: %w", name, err)
		}
	}
	return a, nil
}

// adjustmentOf checks one number as Compile will.
func adjustmentOf(name string, raw json.RawMessage) (string, error) {
	c := compiler{price: &Price{}, kept: map[string]json.RawMessage{}}
	if err := c.adjustment(name, raw); err != nil {
		return "", err
	}
	return string(c.kept[name]), nil
}

// Of is what applies to a provider's deployments. Of a nil Adjustments it is
// nothing.
func (a *Adjustments) Of(provider string) Adjustment {
	if a == nil {
		return Adjustment{}
	}
	out, ok := a.margins[provider]
	if !ok {
		out = a.margins[anyProvider]
	}
	out.Discount = a.discounts[provider]
	return out
}
