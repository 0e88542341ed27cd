package journal

import (
	"hash/maphash"
	"slices"
	"strings"

	"sluice/proxy/bill"
)

// sharing gives what many records have in common one place in memory: who calls,
// for which model, charged to which accounts. A record is a few hundred bytes of
// texts, of which its neighbour has all but two, and who reads a journal keeps
// thousands of records at once.
type sharing struct {
	seed     maphash.Seed
	texts    [512]string
	tags     [64][]string
	accounts [64][]bill.Account
}

// longestShared is the length in bytes up to which a text may be one that others
// have too.
const longestShared = 128

// text is a copy of s, or one that was made before.
func (h *sharing) text(s string) string {
	if s == "" || len(s) > longestShared {
		return strings.Clone(s)
	}
	at := &h.texts[maphash.String(h.seed, s)%uint64(len(h.texts))]
	if *at != s {
		*at = strings.Clone(s)
	}
	return *at
}

// shared is a copy of a list, or one that was made before. by is a text of it,
// that differs where lists do.
func shared[T comparable](h *sharing, of *[64][]T, by string, list []T) []T {
	if len(list) == 0 {
		return nil
	}
	at := &of[maphash.String(h.seed, by)%uint64(len(of))]
	if !slices.Equal(*at, list) {
		*at = slices.Clone(list)
	}
	return *at
}
