package main

import (
	"bytes"
	"fmt"
	"testing"
)

// In a long outage the migrator says once what is wrong, and again when that
// changes.
func TestMigratorRepeatsNothing(t *testing.T) {
	var out bytes.Buffer
	w := onceWriter{to: &out}
	for _, said := range []string{"away\n", "away\n", "away\n", "starting\n", "away\n"} {
		if n, err := fmt.Fprint(&w, said); err != nil || n != len(said) {
			t.Errorf("%d %v", n, err)
		}
	}
	if got := out.String(); got != "away\nstarting\naway\n" {
		t.Errorf("%q", got)
	}
}
