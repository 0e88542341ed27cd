package server

import (
	"testing"

	"sluice/proxy/access"
)

// router0 routes the whole table.
func router0(t testing.TB, rootPath string) *router {
	t.Helper()
	r, err := newRouter(rootPath, access.Routes(), (&Config{DocsPath: "/docs", SpecPath: "/openapi.json"}).at)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
