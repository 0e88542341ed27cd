//go:build sluicebad

package importer

import (
	"os"
	"time"
)

// cursorFirst is a known-bad behaviour that tests must catch: the place from
// which the next run goes on is committed before the rows up to it. It takes its
// time, so that a test need not be lucky.
func cursorFirst(save func() error) error {
	if os.Getenv("SLUICE_TEST_BAD") != "cursor-first" { //nolint:forbidigo // test builds only
		return nil
	}
	defer time.Sleep(200 * time.Millisecond)
	return save()
}
