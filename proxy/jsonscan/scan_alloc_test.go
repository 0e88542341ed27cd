//go:build !race

package jsonscan

import (
	"testing"

	"sluice/proxy/llm"
)

func TestScanAllocatesNothing(t *testing.T) {
	in := body(2000)
	var o Object
	var edits []llm.Edit
	name := []byte(`"x"`)
	var pieces [][]byte
	if n := testing.AllocsPerRun(100, func() {
		if o.Scan(in) != nil {
			t.Fatal("refused")
		}
		edits = append(edits[:0], llm.Edit{Span: o.Find("model").Value, With: name})
		pieces = Splice(pieces[:0], in, edits)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
