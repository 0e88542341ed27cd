//go:build sluicebad

package budget

import (
	"os"

	"sluice/proxy/money"
)

// reserved is what is reserved of an amount: nothing, where budgets are checked
// against what is known and counted afterwards. That is the known-bad behaviour
// check-then-count of SLUICE_TEST_BAD, which the tests of budgets must catch.
func reserved(amount money.Nano) money.Nano {
	if checkThenCount {
		return 0
	}
	return amount
}

var checkThenCount = os.Getenv("SLUICE_TEST_BAD") == "check-then-count" //nolint:forbidigo // test builds only
