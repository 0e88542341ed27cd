package price

import (
	"errors"
	"math/bits"
	"strconv"
	"strings"

	"sluice/proxy/money"
)

// Prices are decimals, and some of the table carry the noise of a program that
// once held them in binary (3.0000000000000004e-07). They are kept exactly, in
// units of 10⁻³⁰ dollars, multiplied and added exactly, and rounded once.

// fine is how many decimals of a dollar a rate has.
const fine = 30

// rate is a price of one unit in units of 10⁻³⁰ dollars; up to 3·10⁸ dollars.
type rate struct{ hi, lo uint64 }

func (r rate) zero() bool { return r.hi|r.lo == 0 }

func (r rate) less(o rate) bool { return r.hi < o.hi || r.hi == o.hi && r.lo < o.lo }

// times10 is r times ten and a digit; false if that is too much.
func (r rate) times10(digit uint64) (rate, bool) {
	over, hi := bits.Mul64(r.hi, 10)
	carry, lo := bits.Mul64(r.lo, 10)
	hi, c := bits.Add64(hi, carry, 0)
	over += c
	lo, c = bits.Add64(lo, digit, 0)
	hi, c = bits.Add64(hi, 0, c)
	return rate{hi, lo}, over+c == 0
}

// over is r divided by a small number; false if something remains.
func (r rate) over(by uint64) (rate, bool) {
	hi, rest := r.hi/by, r.hi%by
	lo, rest := bits.Div64(rest, r.lo, by)
	return rate{hi, lo}, rest == 0
}

// Errors of decimal.
var (
	errNumber   = errors.New("is not a decimal number")
	errNegative = errors.New("is negative")
	errFine     = errors.New("has more than 30 decimals")
	errLarge    = errors.New("is too large")
)

// decimal is a number of zero or more, as digits without zeros at either end
// and a power of ten. Zero has no digits.
type decimal struct {
	digits   string
	exponent int
}

// parseDecimal reads a decimal number as JSON writes it.
func parseDecimal(text string) (decimal, error) {
	if len(text) == 0 || len(text) > 64 {
		return decimal{}, errNumber
	}
	body, minus := strings.CutPrefix(text, "-")
	mantissa, power, scientific := strings.Cut(strings.ToLower(body), "e")
	exponent := 0
	if scientific {
		n, err := strconv.Atoi(power)
		if err != nil || n > 999 || n < -999 {
			return decimal{}, errNumber
		}
		exponent = n
	}
	whole, fraction, pointed := strings.Cut(mantissa, ".")
	digits := whole + fraction
	if whole == "" || pointed && fraction == "" || strings.Trim(digits, "0123456789") != "" {
		return decimal{}, errNumber
	}
	exponent -= len(fraction)
	digits = strings.TrimLeft(digits, "0")
	short := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(short)
	switch {
	case short == "":
		return decimal{}, nil
	case minus:
		return decimal{}, errNegative
	}
	return decimal{short, exponent}, nil
}

// append appends the number as JSON in the one way that documents write it.
func (d decimal) append(dst []byte) []byte {
	if d.digits == "" {
		return append(dst, '0')
	}
	dst = append(dst, d.digits...)
	if d.exponent != 0 {
		dst = append(dst, 'e')
		dst = strconv.AppendInt(dst, int64(d.exponent), 10)
	}
	return dst
}

// scaled is the number in units of 10^-decimals.
func (d decimal) scaled(decimals int) (rate, error) {
	var r rate
	if d.digits == "" {
		return r, nil
	}
	zeros := d.exponent + decimals
	if zeros < 0 {
		return r, errFine
	}
	ok := true
	for i := 0; i < len(d.digits)+zeros && ok; i++ {
		var digit uint64
		if i < len(d.digits) {
			digit = uint64(d.digits[i] - '0')
		}
		r, ok = r.times10(digit)
	}
	if !ok {
		return rate{}, errLarge
	}
	return r, nil
}

// wide is a sum of rates times counts, and its products with multipliers: 384
// bits, the lowest first. A sum is below 2¹⁹⁸, so that four multipliers of 2⁴⁰
// cannot make it overflow.
type wide [6]uint64

// add adds n units at a rate.
func (w *wide) add(r rate, n int64) {
	count := uint64(n)
	h0, l0 := bits.Mul64(r.lo, count)
	h1, l1 := bits.Mul64(r.hi, count)
	mid, c := bits.Add64(h0, l1, 0)
	w.addLimbs(l0, mid, h1+c)
}

func (w *wide) addLimbs(l0, l1, l2 uint64) {
	var c uint64
	w[0], c = bits.Add64(w[0], l0, 0)
	w[1], c = bits.Add64(w[1], l1, c)
	w[2], c = bits.Add64(w[2], l2, c)
	for i := 3; c != 0 && i < len(w); i++ {
		w[i], c = bits.Add64(w[i], 0, c)
	}
}

// plus adds another sum.
func (w *wide) plus(o *wide) {
	var c uint64
	for i := range w {
		w[i], c = bits.Add64(w[i], o[i], c)
	}
}

// mul multiplies by a small number.
func (w *wide) mul(by uint64) {
	var carry uint64
	for i, limb := range w {
		hi, lo := bits.Mul64(limb, by)
		var c uint64
		w[i], c = bits.Add64(lo, carry, 0)
		carry = hi + c
	}
}

// div divides by a small number and returns what remains.
func (w *wide) div(by uint64) uint64 {
	top := len(w) - 1
	for top > 0 && w[top] == 0 {
		top--
	}
	var rest uint64
	for i := top; i >= 0; i-- {
		w[i], rest = bits.Div64(rest, w[i], by)
	}
	return rest
}

// rounding says what becomes of what is finer than a nano-dollar.
type rounding uint8

const (
	halfEven rounding = iota
	upwards
)

// nano is the sum in nano-dollars, where it stands for units of 10^-decimals
// dollars; false if that is more than money.Nano holds. decimals is at least 10.
func (w wide) nano(decimals int, how rounding) (money.Nano, bool) {
	const most = 19 // 10¹⁹ is below 2⁶⁴
	sticky := uint64(0)
	left := decimals - 9
	// The last division is by ten alone, so that its rest says on which side of
	// the half the fraction is; what the others leave only breaks a tie.
	for left > 1 {
		n := min(left-1, most)
		sticky |= w.div(power10(n))
		left -= n
	}
	digit := w.div(10)
	up := digit > 5 || digit == 5 && (sticky != 0 || w[0]&1 == 1)
	if how == upwards {
		up = digit != 0 || sticky != 0
	}
	if up {
		w.addLimbs(1, 0, 0)
	}
	if w[0]>>63 != 0 || w[1]|w[2]|w[3]|w[4]|w[5] != 0 {
		return 1<<63 - 1, false
	}
	return money.Nano(w[0]), true
}

func power10(n int) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}
