// Package money is amounts of US dollars as integers: nano-dollars, 10⁻⁹ $.
// Nothing of ours counts money in floating point. On the wire amounts are JSON
// numbers of dollars, as LiteLLM writes them; they are read from their decimal
// text and written as the shortest text that reads back as the same amount.
package money

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Nano is an amount in nano-dollars.
type Nano int64

// Dollar is one dollar.
const Dollar Nano = 1_000_000_000

// Errors of Parse.
var (
	ErrSyntax = errors.New("not a decimal number")
	ErrRange  = errors.New("more than 9223372036 dollars")
)

// Parse reads a decimal number of dollars: digits with an optional sign, point
// and exponent. What is finer than a nano-dollar is rounded half to even.
func Parse(text string) (Nano, error) {
	if len(text) == 0 || len(text) > 64 {
		return 0, ErrSyntax
	}
	mantissa, minus := text, text[0] == '-'
	if minus || text[0] == '+' {
		mantissa = text[1:]
	}
	exponent := 0
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		n, err := strconv.Atoi(mantissa[i+1:])
		if err != nil {
			return 0, ErrSyntax
		}
		mantissa, exponent = mantissa[:i], max(min(n, 1000), -1000) // beyond which only zeros are in reach
	}
	point := strings.IndexByte(mantissa, '.')
	digits := len(mantissa)
	if point >= 0 {
		digits--
	} else {
		point = digits
	}
	if digits == 0 {
		return 0, ErrSyntax
	}
	// Digits before the end are whole nano-dollars, the others a fraction.
	sum := sum{end: point + exponent + 9}
	at := 0
	for i := range len(mantissa) {
		switch c := mantissa[i]; {
		case c-'0' < 10:
			sum.digit(at, c-'0')
			at++
		case c != '.' || i != point:
			return 0, ErrSyntax
		}
	}
	for ; at < sum.end && sum.n != 0 && !sum.over; at++ {
		sum.digit(at, 0)
	}
	return sum.nano(minus)
}

// sum is a number that is being read, digit by digit.
type sum struct {
	end   int // where the fraction begins
	n     uint64
	first byte // digit of the fraction
	rest  bool // one of the others is not 0
	over  bool // n was too large
}

func (s *sum) digit(at int, d byte) {
	switch {
	case at < s.end:
		s.over = s.over || s.n > math.MaxUint64/10-1
		s.n = s.n*10 + uint64(d)
	case at == s.end:
		s.first = d
	default:
		s.rest = s.rest || d != 0
	}
}

func (s *sum) nano(minus bool) (Nano, error) {
	if s.first > 5 || s.first == 5 && (s.rest || s.n&1 == 1) {
		s.n++
	}
	most := uint64(math.MaxInt64)
	if minus {
		most++
	}
	if s.over || s.n > most {
		return 0, ErrRange
	}
	if minus {
		return Nano(-s.n), nil
	}
	return Nano(s.n), nil
}

// Append appends the amount in dollars as a JSON number with at least one
// decimal: 5.0, 0.000001, -1.5.
func (n Nano) Append(dst []byte) []byte {
	u := uint64(n)
	if n < 0 {
		dst, u = append(dst, '-'), -u
	}
	dst = strconv.AppendUint(dst, u/uint64(Dollar), 10)
	var room [10]byte // the fraction behind a 1
	fraction := strconv.AppendUint(room[:0], u%uint64(Dollar)+uint64(Dollar), 10)[1:]
	end := len(fraction)
	for end > 1 && fraction[end-1] == '0' {
		end--
	}
	return append(append(dst, '.'), fraction[:end]...)
}

// String is the amount in dollars.
func (n Nano) String() string { return string(n.Append(nil)) }

// MarshalJSON writes a number of dollars.
func (n Nano) MarshalJSON() ([]byte, error) { return n.Append(nil), nil }

// UnmarshalJSON reads a number of dollars.
func (n *Nano) UnmarshalJSON(text []byte) error {
	v, err := Parse(string(text))
	if err != nil {
		return fmt.Errorf("amount in dollars: %w", err)
	}
	*n = v
	return nil
}
