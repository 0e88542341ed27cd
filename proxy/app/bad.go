//go:build sluicebad

package app

import "os"

// The known-bad behaviours that the tests of the change feed must catch, named
// by SLUICE_TEST_BAD: ring-off is a worker that tells nobody what it has
// changed, poller-off a host that does not follow the record of changes. Those
// of the tests of keys: eager-key is a host that promotes its first key without
// asking the others. Those of the tests of limits: local-limits is a worker that
// counts for itself.

// ringless is a worker that keeps what it has changed to itself.
func ringless() bool { return os.Getenv("SLUICE_TEST_BAD") == "ring-off" } //nolint:forbidigo // test builds only

// unpolled is a host that neither polls nor listens.
func unpolled() bool { return os.Getenv("SLUICE_TEST_BAD") == "poller-off" } //nolint:forbidigo // test builds only

// eagerKey is a host that promotes without asking the others.
func eagerKey() bool { return os.Getenv("SLUICE_TEST_BAD") == "eager-key" } //nolint:forbidigo // test builds only

// localLimits is a worker that counts for itself, past the host table.
func localLimits() bool { return os.Getenv("SLUICE_TEST_BAD") == "local-limits" } //nolint:forbidigo // test builds only
