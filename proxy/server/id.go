package server

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// mintID writes a UUIDv7 (RFC 9562, section 5.7) as text. The random part is
// from the runtime's per-thread ChaCha8, so that minting neither locks nor
// allocates; ids are names, not secrets.
func mintID(dst *[36]byte, t time.Time) {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(t.UnixMilli())<<16|rand.Uint64()&0x0fff|0x7000)
	binary.BigEndian.PutUint64(b[8:], rand.Uint64()&(1<<62-1)|1<<63)
	hex.Encode(dst[0:8], b[0:4])
	hex.Encode(dst[9:13], b[4:6])
	hex.Encode(dst[14:18], b[6:8])
	hex.Encode(dst[19:23], b[8:10])
	hex.Encode(dst[24:36], b[10:16])
	dst[8], dst[13], dst[18], dst[23] = '-', '-', '-', '-'
}
