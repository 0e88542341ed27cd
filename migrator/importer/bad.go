//go:build sluicebad

package importer

import "os"

// cursorFirst is a known-bad behaviour that tests must catch: the place from
// which the next run goes on is committed before the rows up to it.
func cursorFirst() bool { return os.Getenv("SLUICE_TEST_BAD") == "cursor-first" } //nolint:forbidigo // test builds only
