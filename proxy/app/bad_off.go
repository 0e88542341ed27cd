//go:build !sluicebad

package app

// Known-bad behaviours are built in by tests; a release has none.
func ringless() bool    { return false }
func unpolled() bool    { return false }
func eagerKey() bool    { return false }
func localLimits() bool { return false }
