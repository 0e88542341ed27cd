//go:build !sluicebad

package main

// Known-bad behaviours are built in by tests; a release has none.
func badStart() bool   { return false }
func neverReady() bool { return false }
