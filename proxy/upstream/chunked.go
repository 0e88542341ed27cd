package upstream

// chunkState is where a chunked body (RFC 9112, section 7.1) stands.
type chunkState uint8

const (
	chunkSize     chunkState = iota // first digit of a size
	chunkDigits                     // further digits
	chunkExt                        // extension, skipped
	chunkSizeLF                     // LF after the size
	chunkData                       // the chunk's bytes
	chunkDataCR                     // CR after them
	chunkDataLF                     // LF after that
	chunkTrailer                    // first byte of a trailer line
	chunkTrailing                   // within a trailer line, skipped
	chunkTrailLF                    // LF of a trailer line
	chunkLastLF                     // LF of the blank line at the end
	chunkDone
)

const (
	maxChunkDigits = 15      // hexadecimal
	maxChunkExt    = 1 << 10 // bytes of one chunk's extension
	maxTrailer     = 8 << 10 // bytes of all trailer lines
)

// chunked decodes a chunked body piece by piece. It accepts what the grammar
// allows and nothing else: no bare LF, no padded sizes.
type chunked struct {
	state  chunkState
	remain int64 // bytes left of the chunk
	count  int   // digits, extension or trailer bytes so far
}

// decode moves body bytes from src to dst and takes the framing between them
// off, as far as both reach. It never takes anything behind the body's end.
func (d *chunked) decode(dst, src []byte) (n, m int, err error) {
	for m < len(src) && d.state != chunkDone {
		if d.state != chunkData {
			if err := d.step(src[m]); err != nil {
				return n, m, err
			}
			m++
			continue
		}
		k := min(int64(len(src)-m), int64(len(dst)-n), d.remain)
		if k == 0 {
			break // dst is full
		}
		copy(dst[n:], src[m:m+int(k)])
		n += int(k)
		m += int(k)
		d.took(k)
	}
	return n, m, nil
}

// took counts bytes of the chunk that were read.
func (d *chunked) took(k int64) {
	if d.remain -= k; d.remain == 0 {
		d.state = chunkDataCR
	}
}

// step takes one byte of framing.
func (d *chunked) step(c byte) error {
	switch d.state {
	case chunkSize, chunkDigits:
		return d.size(c)
	case chunkExt:
		if c == '\r' {
			d.state = chunkSizeLF
			return nil
		}
		if d.count++; d.count > maxChunkExt || c == '\n' || c == 0 {
			return violation("chunk extension")
		}
	case chunkSizeLF:
		d.count = 0
		d.state = chunkData
		if d.remain == 0 {
			d.state = chunkTrailer
		}
		return d.want(c, '\n')
	case chunkDataCR:
		d.state = chunkDataLF
		return d.want(c, '\r')
	case chunkDataLF:
		d.state = chunkSize
		return d.want(c, '\n')
	case chunkTrailer, chunkTrailing:
		return d.trailer(c)
	case chunkTrailLF:
		d.state = chunkTrailer
		return d.want(c, '\n')
	case chunkLastLF:
		d.state = chunkDone
		return d.want(c, '\n')
	case chunkData, chunkDone:
		panic("BUG: framing byte expected")
	}
	return nil
}

func (d *chunked) want(got, want byte) error {
	if got != want {
		return violation("chunk framing")
	}
	return nil
}

// size takes a digit of a chunk's size or what follows it.
func (d *chunked) size(c byte) error {
	if v := unhex(c); v >= 0 {
		if d.state == chunkSize {
			d.state, d.remain, d.count = chunkDigits, 0, 0
		}
		if d.count++; d.count > maxChunkDigits {
			return violation("chunk size")
		}
		d.remain = d.remain<<4 | int64(v)
		return nil
	}
	if d.state == chunkDigits {
		switch c {
		case '\r':
			d.state = chunkSizeLF
			return nil
		case ';':
			d.state, d.count = chunkExt, 0
			return nil
		}
	}
	return violation("chunk size")
}

// trailer skips trailer lines up to the blank one.
func (d *chunked) trailer(c byte) error {
	if d.count++; d.count > maxTrailer {
		return violation("trailer too large")
	}
	switch {
	case c == '\r' && d.state == chunkTrailer:
		d.state = chunkLastLF
	case c == '\r':
		d.state = chunkTrailLF
	case c == '\n' || c == 0:
		return violation("trailer")
	default:
		d.state = chunkTrailing
	}
	return nil
}

// unhex is the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
