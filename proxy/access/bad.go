//go:build sluicebad

package access

import "os"

// allowAll is the known-bad table that the tests of permissions must catch:
// everybody may do everything to all objects. SLUICE_TEST_BAD=allow-all asks
// for it.
func allowAll() bool { return os.Getenv("SLUICE_TEST_BAD") == "allow-all" } //nolint:forbidigo // test builds only
