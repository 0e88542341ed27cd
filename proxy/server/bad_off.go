//go:build !sluicebad

package server

import "github.com/valyala/fasthttp"

// badness stands for the known-bad behaviour that tests build in; a release
// has none.
type badness struct{}

func readBadness() badness                           { return badness{} }
func (badness) before(*fasthttp.RequestHeader)       {}
func (badness) during(*fasthttp.RequestCtx, *stream) {}
func (badness) adopted(*Server)                      {}
func (badness) lame(*Server)                         {}
func (badness) shutdown() bool                       { return false }
func (badness) stuck(bool)                           {}
func (badness) deaf() bool                           { return false }
func (badness) unshared() bool                       { return false }
