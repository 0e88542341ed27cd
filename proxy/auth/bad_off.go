//go:build !sluicebad

package auth

import "sluice/proxy/llm"

// The known-bad behaviour that tests build in; a release has none.
func badAway(e *llm.Error) *llm.Error { return e }
func badSnapshot() bool               { return false }
func badPace() bool                   { return false }
