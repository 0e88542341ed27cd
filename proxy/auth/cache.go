package auth

import (
	"encoding/binary"
	"sync/atomic"
)

// cache finds records by their digest: buckets of eight, each a list of atomic
// pointers, so that reading takes no lock. Writing is guarded by the directory's
// mutex. It is bounded by its places and by the bytes of what is in them.
type cache struct {
	buckets []bucket
	bytes   int64 // estimated, of all records
	most    int64
	count   int64
	hand    int // the bucket that gives way next when the bytes are too many
}

const ways = 8

type bucket [ways]atomic.Pointer[record]

// newCache makes room for about n records of together most bytes.
func newCache(n int, most int64) *cache {
	size := 1
	for size*ways < n {
		size *= 2
	}
	return &cache{buckets: make([]bucket, size), most: most}
}

// at is the bucket of a digest that begins with the 44 bits that the ring of
// changes knows it by, so that a change finds it too.
func (c *cache) at(hash uint64) *bucket { return &c.buckets[hash>>4&uint64(len(c.buckets)-1)] }

// hashOf is what the ring of changes knows a digest by: its first 44 bits.
func hashOf(digest *[32]byte) uint64 { return binary.BigEndian.Uint64(digest[:8]) >> 20 }

func (c *cache) find(digest *[32]byte) *record {
	b := c.at(hashOf(digest))
	for i := range b {
		if r := b[i].Load(); r != nil && r.digest == *digest {
			return r
		}
	}
	return nil
}

// put stores a record in place of the one with its digest, or of an empty
// place, or of the one that was used longest ago.
func (c *cache) put(r *record) {
	b := c.at(hashOf(&r.digest))
	into := -1
	for i := range b {
		old := b[i].Load()
		if old != nil && old.digest == r.digest {
			into = i
			break
		}
		if into < 0 || older(old, b[into].Load()) {
			into = i
		}
	}
	c.replace(&b[into], r)
	for c.bytes > c.most && c.makeRoom(r) {
	}
}

// older says whether a gives way before b; an empty place does first.
func older(a, b *record) bool {
	if a == nil || b == nil {
		return a == nil && b != nil
	}
	return a.used.Load() < b.used.Load()
}

func (c *cache) replace(place *atomic.Pointer[record], r *record) {
	if old := place.Load(); old != nil {
		c.bytes -= old.size
		c.count--
	}
	if r != nil {
		c.bytes += r.size
		c.count++
	}
	place.Store(r)
}

// makeRoom takes out the longest unused record of the next bucket that has one,
// but not keep. It reports whether there was one.
func (c *cache) makeRoom(keep *record) bool {
	for range c.buckets {
		b := &c.buckets[c.hand]
		c.hand = (c.hand + 1) % len(c.buckets)
		out := -1
		for i := range b {
			if r := b[i].Load(); r != nil && r != keep && (out < 0 || older(r, b[out].Load())) {
				out = i
			}
		}
		if out >= 0 {
			c.replace(&b[out], nil)
			return true
		}
	}
	return false
}

// each calls fn for the records whose digest begins with the hash.
func (c *cache) each(hash uint64, fn func(*record)) {
	b := c.at(hash)
	for i := range b {
		if r := b[i].Load(); r != nil && hashOf(&r.digest) == hash {
			fn(r)
		}
	}
}

// all calls fn for every record.
func (c *cache) all(fn func(*record)) {
	for i := range c.buckets {
		for j := range c.buckets[i] {
			if r := c.buckets[i][j].Load(); r != nil {
				fn(r)
			}
		}
	}
}

// misses remembers for a short time which digests nobody has. It is bounded: a
// newer one takes the place of an older one.
type misses struct {
	places []atomic.Pointer[miss]
}

type miss struct {
	digest [32]byte
	at     int64
}

func newMisses(n int) *misses { return &misses{places: make([]atomic.Pointer[miss], n)} }

func (m *misses) place(hash uint64) *atomic.Pointer[miss] {
	return &m.places[hash%uint64(len(m.places))]
}

// has reports whether the digest was missing a moment ago.
func (m *misses) has(digest *[32]byte, now int64) bool {
	p := m.place(hashOf(digest)).Load()
	return p != nil && p.digest == *digest && now-p.at < missFor
}

func (m *misses) put(digest *[32]byte, now int64) {
	m.place(hashOf(digest)).Store(&miss{digest: *digest, at: now})
}

func (m *misses) drop(hash uint64) {
	place := m.place(hash)
	if p := place.Load(); p != nil && hashOf(&p.digest) == hash {
		place.Store(nil)
	}
}

func (m *misses) clear() {
	for i := range m.places {
		m.places[i].Store(nil)
	}
}
