package gateway

import (
	"sync/atomic"

	"sluice/proxy/jsonscan"
	"sluice/proxy/price"
)

// priceList remembers the prices of the models that a deployment of many was
// called for. It is bounded: beyond it they are looked up each time.
type priceList struct {
	of    func(model string) *price.Price
	known atomic.Pointer[map[string]*price.Price]
}

const maxPriceList = 512

// priceOf is the price of a call; model is the provider's name of it as JSON.
func (b *binding) priceOf(model []byte) *price.Price {
	if b.prices == nil {
		return b.price
	}
	l := b.prices
	known := l.known.Load()
	if known != nil {
		if p, ok := (*known)[string(model)]; ok {
			return p
		}
	}
	p := l.of(string(jsonscan.Unquote(nil, model)))
	next := map[string]*price.Price{string(model): p}
	if known != nil {
		if len(*known) >= maxPriceList {
			return p
		}
		for k, v := range *known {
			next[k] = v
		}
	}
	l.known.Store(&next)
	return p
}
