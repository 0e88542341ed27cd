//go:build sluicebad

package main

// badBuild lets SLUICE_TEST_BAD choose a variant that is known to lose
// requests, so that the tests of zero loss can be seen to fail.
const badBuild = true
