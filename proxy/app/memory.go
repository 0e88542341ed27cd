package app

import (
	"strconv"
	"strings"
)

// memoryLimit reads a GOMEMLIMIT (package runtime: a number of bytes with an
// optional unit B, KiB, MiB, GiB or TiB).
func memoryLimit(text string) (bytes int64, ok bool) {
	shift := 0
	for unit, bits := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40} {
		if rest, found := strings.CutSuffix(text, unit); found {
			text, shift = rest, bits
		}
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(text, "B"), 10, 64)
	if err != nil || n <= 0 || n > 1<<62>>shift {
		return 0, false
	}
	return n << shift, true
}
