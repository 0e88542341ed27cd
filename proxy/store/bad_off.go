//go:build !sluicebad

package store

// Known-bad behaviours are built in by tests; a release has none.
func unguarded() bool { return false }

func doubleShip() bool { return false }
