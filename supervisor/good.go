//go:build !sluicebad

package main

// badBuild is off: SLUICE_TEST_BAD means nothing in a release.
const badBuild = false
