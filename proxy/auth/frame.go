package auth

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"time"

	"sluice/proxy/identity"
)

// A snapshot is a row of frames. Several processes append whole batches of
// them; a process may be killed in the middle of one, so a reader that finds
// nonsense goes on at the next magic:
//
//	magic (4) length of the rest (4) checksum of the rest (4)
//	kind (1) id (32) time (8) sealed value with its nonce
//
// Kind, id and time are additional data of the seal: a frame that was moved or
// dated anew does not open.
const (
	frameMagic = "\xf5SL1"
	frameHead  = 12
	frameFixed = 1 + 32 + 8
	maxFrame   = 32 << 20
)

// Kinds of frames.
const (
	frameNone    = iota
	frameKey     // a key by a digest that leads to it
	frameGone    // the digest leads to no key any more
	frameObject  // an object that keys share, by objectID
	frameChanged // an object has changed: the number of the change
	frameNamed   // bytes that somebody else keeps here, by their name
	frameContact // the database has answered
)

// frame is one entry of a snapshot.
type frame struct {
	kind   byte
	id     [32]byte
	at     int64         // unix nanoseconds; 0: when it is written
	object identity.Kind // of value
	value  any           // marshalled when it is written; []byte as it is
}

// savedKey is the value of frameKey.
type savedKey struct {
	Key     *identity.Key
	Retired *identity.RetiredKey `json:",omitempty"`
}

// objectID is the id of an object's frames.
func objectID(kind identity.Kind, id string) [32]byte {
	return sha256.Sum256(append([]byte{byte(kind)}, id...))
}

// sealer seals frames with its first key and opens them with any.
type sealer []cipher.AEAD

func newSealer(keys [][32]byte) (sealer, error) {
	if len(keys) == 0 {
		return nil, errors.New("the key snapshot has no key to seal with")
	}
	var out sealer
	for i := range keys {
		block, err := aes.NewCipher(keys[i][:])
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		out = append(out, aead)
	}
	return out, nil
}

// append appends a frame to a batch.
func (s sealer) append(dst []byte, f *frame, now time.Time) ([]byte, error) {
	plain, ok := f.value.([]byte)
	if !ok && f.value != nil {
		var err error
		if plain, err = json.Marshal(f.value); err != nil {
			return dst, err
		}
	}
	at := f.at
	if at == 0 {
		at = now.UnixNano()
	}
	from := len(dst)
	dst = append(dst, frameMagic...)
	dst = append(dst, make([]byte, frameHead-len(frameMagic))...)
	dst = append(dst, f.kind)
	dst = append(dst, f.id[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(at))
	body := from + frameHead
	dst = s[0].Seal(dst, nil, plain, bytes.Clone(dst[body:body+frameFixed]))
	rest := dst[body:]
	binary.LittleEndian.PutUint32(dst[from+4:], uint32(len(rest)))
	binary.LittleEndian.PutUint32(dst[from+8:], crc32.ChecksumIEEE(rest))
	return dst, nil
}

// scanned is a frame in a file, its value still sealed.
type scanned struct {
	kind   byte
	id     [32]byte
	at     int64
	sealed []byte
	aad    []byte
	from   int // of the whole frame in what was scanned
	size   int
}

// next finds the first whole frame at or after from; ok is false where there is
// none.
func nextFrame(b []byte, from int) (f scanned, ok bool) {
	for from < len(b) {
		i := bytes.Index(b[from:], []byte(frameMagic))
		if i < 0 {
			return f, false
		}
		from += i
		if f, ok = frameAt(b, from); ok {
			return f, true
		}
		from++
	}
	return f, false
}

func frameAt(b []byte, from int) (f scanned, ok bool) {
	if len(b)-from < frameHead+frameFixed {
		return f, false
	}
	size := int(binary.LittleEndian.Uint32(b[from+4:]))
	if size < frameFixed || size > maxFrame || size > len(b)-from-frameHead {
		return f, false
	}
	rest := b[from+frameHead : from+frameHead+size]
	if crc32.ChecksumIEEE(rest) != binary.LittleEndian.Uint32(b[from+8:]) {
		return f, false
	}
	f = scanned{kind: rest[0], at: int64(binary.LittleEndian.Uint64(rest[33:])), aad: rest[:frameFixed], sealed: rest[frameFixed:]}
	copy(f.id[:], rest[1:33])
	f.from, f.size = from, frameHead+size
	return f, true
}

// open unseals a frame's value.
func (s sealer) open(f *scanned) (plain []byte, err error) {
	for _, aead := range s {
		if plain, err = aead.Open(nil, nil, f.sealed, f.aad); err == nil {
			break
		}
	}
	return plain, err
}
