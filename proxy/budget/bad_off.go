//go:build !sluicebad

package budget

import "sluice/proxy/money"

func reserved(amount money.Nano) money.Nano { return amount }
