//go:build sluicebad

package store

import "os"

// unguarded lets in what was sealed with a key that is not in use any more: the
// known-bad behaviour no-guard of SLUICE_TEST_BAD, which the tests of rotation
// must catch.
func unguarded() bool { return os.Getenv("SLUICE_TEST_BAD") == "no-guard" } //nolint:forbidigo // test builds only

// doubleShip adds up the rows that were sent instead of those that were
// inserted: the known-bad behaviour double-ship, which the tests of the ledger
// must catch.
func doubleShip() bool { return os.Getenv("SLUICE_TEST_BAD") == "double-ship" } //nolint:forbidigo // test builds only
