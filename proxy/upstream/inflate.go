package upstream

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

const (
	maxRatio = 100      // decompressed to compressed
	slack    = 64 << 10 // bytes that no ratio is asked of
)

// inflater decompresses an answer that came as gzip although it was not asked
// for, and refuses bombs.
type inflater struct {
	zr      *gzip.Reader
	src     *bufio.Reader
	in, out int64
	limit   int64
}

func newInflater(r *Response, limit int64) *inflater {
	z := &inflater{limit: limit}
	z.src = bufio.NewReaderSize(&packed{r: r, z: z}, readSize)
	return z
}

// packed is the compressed body, counted.
type packed struct {
	r *Response
	z *inflater
}

func (p *packed) Read(b []byte) (int, error) {
	n, err := p.r.readRaw(b)
	p.z.in += int64(n)
	return n, err
}

func (z *inflater) Read(p []byte) (int, error) {
	if z.zr == nil {
		zr, err := gzip.NewReader(z.src)
		if err != nil {
			return 0, z.classify(err)
		}
		z.zr = zr
	}
	for {
		n, err := z.zr.Read(p)
		z.out += int64(n)
		switch {
		case z.out > slack && z.out > maxRatio*z.in:
			return 0, fmt.Errorf("%w: decompresses to more than %d times its size", ErrTooLarge, maxRatio)
		case z.out > z.limit:
			return 0, fmt.Errorf("%w: decompresses to more than %d bytes", ErrTooLarge, z.limit)
		case n > 0:
			return n, nil
		case err != nil:
			return 0, z.classify(err)
		}
	}
}

// classify keeps the end and the connection's errors; all others mean that the
// compressed data is wrong.
func (z *inflater) classify(err error) error {
	var e *Error
	if errors.As(err, &e) || err == io.EOF { //nolint:errorlint // a wrapped end is none
		return err
	}
	return violation("compressed data")
}
