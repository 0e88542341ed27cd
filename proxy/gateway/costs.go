package gateway

import "sluice/proxy/money"

// Names of headers about money. Amounts are dollars, exact to a nano-dollar.
var (
	headCost      = []byte("x-litellm-response-cost")
	headOriginal  = []byte("x-litellm-response-cost-original")
	headDiscount  = []byte("x-litellm-response-cost-discount-amount")
	headMargin    = []byte("x-litellm-response-cost-margin-amount")
	headKeySpend  = []byte("x-litellm-key-spend")
	headKeyBudget = []byte("x-litellm-key-max-budget")
)

// costHeaders says what the answer cost, where that is known before it goes out:
// of a stream it is not. What the key has spent includes this answer, where that
// has a cost by then.
func (x *Exchange) costHeaders() {
	if !x.Streamed {
		c := &x.costs
		x.addMoney(headCost, c.Cost)
		x.addMoney(headOriginal, c.Original)
		if c.Discount != 0 {
			x.addMoney(headDiscount, c.Discount)
		}
		if c.Margin != 0 {
			x.addMoney(headMargin, c.Margin)
		}
	}
	if _, _, spends := x.g.keys.KeyLimits(&x.Caller, &x.wants); spends != nil {
		x.addMoney(headKeySpend, x.Caller.KeySpend())
		if spends.Max >= 0 {
			x.addMoney(headKeyBudget, spends.Max)
		}
	}
}

func (x *Exchange) addMoney(name []byte, n money.Nano) {
	from := len(x.scratch)
	x.scratch = n.Append(x.scratch)
	x.add(name, x.scratch[from:len(x.scratch):len(x.scratch)])
}
