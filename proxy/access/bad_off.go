//go:build !sluicebad

package access

// allowAll stands for the known-bad table that tests build in; a release has
// none.
func allowAll() bool { return false }
