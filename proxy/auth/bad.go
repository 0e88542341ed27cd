//go:build sluicebad

package auth

import (
	"os"

	"sluice/proxy/llm"
)

// badness is the known-bad behaviour that the tests of an outage and of a flood
// must catch. SLUICE_TEST_BAD names it: away-401 refuses keys that nobody can
// check as if they were wrong, no-snapshot reads nothing of what the host
// remembers, unpaced asks the database for wrong keys as often as it can.
func badness(name string) bool { return os.Getenv("SLUICE_TEST_BAD") == name } //nolint:forbidigo // test builds only

func badAway(e *llm.Error) *llm.Error {
	if badness("away-401") {
		return unauthorized("auth_error", "None", e.Message)
	}
	return e
}

func badSnapshot() bool { return badness("no-snapshot") }
func badPace() bool     { return badness("unpaced") }
