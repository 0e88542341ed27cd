// Package money is amounts of US dollars as integers: nano-dollars, 10⁻⁹ $.
// Nothing of ours counts money in floating point. On the wire amounts are JSON
// numbers of dollars, as LiteLLM writes them; they are read from their decimal
// text and written as the shortest text that reads back as the same amount.
package money

import (
	"errors"
	"fmt"
	"math"
	"math/big"
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
	// big.Rat would build numbers of as many digits as the exponent says.
	if len(text) == 0 || len(text) > 64 || strings.ContainsAny(text, "_/xXpPbBoO") {
		return 0, ErrSyntax
	}
	if _, exponent, ok := strings.Cut(strings.ToLower(text), "e"); ok {
		if n, err := strconv.Atoi(exponent); err != nil {
			return 0, ErrSyntax
		} else if n > 64 || n < -64 {
			return outOfReach(text, n)
		}
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, ErrSyntax
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(Dollar)))
	n, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	twice := rest.Abs(rest).Lsh(rest, 1)
	if c := twice.Cmp(r.Denom()); c > 0 || c == 0 && n.Bit(0) == 1 {
		n.Add(n, big.NewInt(int64(r.Sign())))
	}
	if !n.IsInt64() {
		return 0, ErrRange
	}
	return Nano(n.Int64()), nil
}

// outOfReach judges a number whose exponent alone decides: nothing, or far too
// much.
func outOfReach(text string, exponent int) (Nano, error) {
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, ErrSyntax
	case f == 0 || exponent < 0 && math.Abs(f) < 1e-10:
		return 0, nil
	default:
		return 0, ErrRange
	}
}

// Append appends the amount in dollars as a JSON number with at least one
// decimal: 5.0, 0.000001, -1.5.
func (n Nano) Append(dst []byte) []byte {
	u := uint64(n)
	if n < 0 {
		dst, u = append(dst, '-'), -u
	}
	dst = strconv.AppendUint(dst, u/uint64(Dollar), 10)
	fraction := strconv.AppendUint(nil, u%uint64(Dollar)+uint64(Dollar), 10)[1:]
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
