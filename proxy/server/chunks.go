package server

import (
	"bytes"
	"errors"

	"github.com/valyala/fasthttp"

	"sluice/proxy/llm"
)

// chunks follows a chunked request body (RFC 9112, section 7.1) as its bytes
// arrive, ahead of fasthttp, which lets through blanks after a chunk size,
// control characters in extensions and folded or malformed trailer fields: what
// another reader before us may have read otherwise (rows F10 and F11). It keeps
// no data and allocates nothing. The zero value is at rest.
type chunks struct {
	at    chunkState
	size  int64 // of the chunk whose size or data is being read
	count int   // digits of the size, or bytes of trailers
}

// chunked is fasthttp's length of a body in chunks.
const chunked = -1

// maxTrailers bounds all trailer fields of a body, in bytes.
const maxTrailers = 8 << 10

type chunkState uint8

const (
	chunksIdle    chunkState = iota // not watching, or past the end
	chunkSize                       // digits
	chunkExt                        // after ';'
	chunkSizeLF                     // LF of the size line
	chunkData                       // size bytes
	chunkDataCR                     // CR behind them
	chunkDataLF                     // and LF
	trailerStart                    // first byte of a trailer line
	trailerName                     // up to ':'
	trailerValue                    // up to CR
	trailerLF                       // LF of a trailer line
	trailersEndLF                   // LF of the empty line
	chunksBad                       // for good
)

var errChunks = errors.New("the chunked coding is broken")

// feed takes in the next bytes and reports whether they may go on. Bytes
// behind the end of the body are not looked at.
func (k *chunks) feed(p []byte) bool {
	for len(p) > 0 && k.at != chunksIdle {
		if k.at == chunkData {
			n := min(int64(len(p)), k.size)
			p, k.size = p[n:], k.size-n
			if k.size == 0 {
				k.at = chunkDataCR
			}
			continue
		}
		if k.at = k.step(p[0]); k.at == chunksBad {
			return false
		}
		p = p[1:]
	}
	return k.at != chunksBad
}

// step is the state after one byte of framing.
func (k *chunks) step(c byte) chunkState {
	switch k.at {
	case chunkSize:
		return k.digit(c)
	case chunkExt:
		if c == '\r' {
			return chunkSizeLF
		}
		return unless(c < 0x20 && c != '\t' || c == 0x7f, chunkExt)
	case chunkSizeLF:
		if k.size == 0 {
			k.count = 0
			return unless(c != '\n', trailerStart)
		}
		return unless(c != '\n', chunkData)
	case chunkDataCR:
		return unless(c != '\r', chunkDataLF)
	case chunkDataLF:
		k.count = 0
		return unless(c != '\n', chunkSize)
	}
	if k.count++; k.count > maxTrailers {
		return chunksBad
	}
	return k.trailer(c)
}

func (k *chunks) digit(c byte) chunkState {
	switch {
	case isHex(c):
		if k.count++; k.count > 15 { // beyond it the size could overflow
			return chunksBad
		}
		if k.count == 1 {
			k.size = 0
		}
		k.size = k.size<<4 | int64(nibble(c))
		return chunkSize
	case k.count == 0:
		return chunksBad
	case c == '\r':
		return chunkSizeLF
	case c == ';':
		return chunkExt
	}
	return chunksBad
}

func (k *chunks) trailer(c byte) chunkState {
	switch k.at {
	case trailerStart:
		if c == '\r' {
			return trailersEndLF
		}
		return unless(!tokenBytes[c], trailerName)
	case trailerName:
		if c == ':' {
			return trailerValue
		}
		return unless(!tokenBytes[c], trailerName)
	case trailerValue:
		if c == '\r' {
			return trailerLF
		}
		return unless(c < 0x20 && c != '\t' || c == 0x7f, trailerValue)
	case trailerLF:
		return unless(c != '\n', trailerStart)
	case trailersEndLF:
		return unless(c != '\n', chunksIdle)
	}
	return chunksBad
}

func unless(bad bool, next chunkState) chunkState {
	if bad {
		return chunksBad
	}
	return next
}

// watchChunks begins to follow the chunked body of the request whose header
// ended in the last read; raw are its header lines. Where the header was read
// together with an earlier request nobody knows where its body begins: then the
// connection ends with the answer, so that nothing stands behind a body that
// was read leniently.
func (c *conn) watchChunks(ctx *fasthttp.RequestCtx, raw []byte) *llm.Error {
	body := c.headerEnd(raw)
	if body < 0 {
		ctx.SetConnectionClose()
		return nil
	}
	c.chunks = chunks{at: chunkSize}
	if !c.chunks.feed(c.last[body:]) {
		return bodyError(errChunks)
	}
	return nil
}

var emptyLine = []byte("\r\n\r\n")

// headerEnd is where in the last read the body begins whose header lines are
// raw, or -1. The empty line may have begun in an earlier read.
func (c *conn) headerEnd(raw []byte) int {
	if len(c.last) == 0 {
		return -1
	}
	seam := append(make([]byte, 0, 2*len(c.before)), c.before[:]...)
	seam = append(seam, c.last[:min(len(c.last), len(c.before))]...)
	if i := bytes.Index(seam, emptyLine); i >= 0 && bytes.HasSuffix(raw, emptyLine) {
		return i + len(emptyLine) - len(c.before)
	}
	end := bytes.Index(c.last, emptyLine) + len(emptyLine)
	if end < len(emptyLine) || !bytes.HasSuffix(raw, c.last[max(0, end-len(raw)):end]) {
		return -1
	}
	return end
}

// tail is the last three bytes that were read: as much of an empty line as
// can be there before it is whole.
type tail [3]byte

// then is the tail once p was read.
func (t tail) then(p []byte) tail {
	if len(p) >= len(t) {
		return tail(p[len(p)-len(t):])
	}
	n := copy(t[:], t[len(p):])
	copy(t[n:], p)
	return t
}
