package money

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		text string
		want Nano
		err  error
	}{
		{"5", 5 * Dollar, nil},
		{"-0.25", -Dollar / 4, nil},
		{"2.5e-06", 2500, nil},
		{"1E2", 100 * Dollar, nil},
		{"0.0000000005", 0, nil}, // half to even
		{"0.0000000015", 2, nil},
		{"0.0000000025", 2, nil},
		{"0.00000000251", 3, nil},
		{"-0.0000000015", -2, nil},
		{"9223372036.854775807", math.MaxInt64, nil},
		{"9223372036.854775808", 0, ErrRange},
		{"1e300", 0, ErrRange},
		{"1e-300", 0, nil},
		{"0e999999999", 0, nil},
		{"", 0, ErrSyntax},
		{"ten", 0, ErrSyntax},
		{"1/3", 0, ErrSyntax},
		{"0x10", 0, ErrSyntax},
		{"Inf", 0, ErrSyntax},
		{"NaN", 0, ErrSyntax},
		{"1e999999999999999999999", 0, ErrSyntax},
		{"-9223372036.854775808", math.MinInt64, nil},
		{"-9223372036.854775809", 0, ErrRange},
		{"0.00000000149999999999999999999999999999999999999999999999999", 1, nil},
		{"0.00000000050000000000000000000000000000000000000000000000001", 1, nil},
		{"123456789e-17", 1, nil},
		{"5e-10", 0, nil},
		{"51e-11", 1, nil},
		{".5", Dollar / 2, nil},
		{"5.", 5 * Dollar, nil},
		{"+5", 5 * Dollar, nil},
		{"0.1e10", 1_000_000_000 * Dollar, nil},
		{"9e9", 9_000_000_000 * Dollar, nil},
		{"1e10", 0, ErrRange},
		{"00000000000000000000000000000000000000000000000000000000000001", Dollar, nil},
		{"99999999999999999999", 0, ErrRange},
		{".", 0, ErrSyntax},
		{"-", 0, ErrSyntax},
		{"e5", 0, ErrSyntax},
		{"1.2.3", 0, ErrSyntax},
		{"1e", 0, ErrSyntax},
		{"--1", 0, ErrSyntax},
		{"1_0", 0, ErrSyntax},
		{" 1", 0, ErrSyntax},
	}
	for _, tt := range tests {
		got, err := Parse(tt.text)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%q: %d %v, want %d %v", tt.text, got, err, tt.want, tt.err)
		}
	}
}

func TestJSON(t *testing.T) {
	for text, want := range map[string]string{"5": "5.0", "1.50": "1.5", "-1e-9": "-0.000000001", "0": "0.0"} {
		var n Nano
		if err := json.Unmarshal([]byte(text), &n); err != nil {
			t.Fatal(err)
		}
		if out, err := json.Marshal(n); err != nil || string(out) != want {
			t.Errorf("%s: %s %v, want %s", text, out, err, want)
		}
	}
	if got := Nano(math.MinInt64).String(); got != "-9223372036.854775808" {
		t.Error(got)
	}
	var n Nano
	if err := json.Unmarshal([]byte(`"5"`), &n); err == nil {
		t.Error("a string is no amount")
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { _, _ = Parse("0.00012345") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1.25e-3")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			return
		}
		if !strings.ContainsAny(text, "eE") { // as package big reads it
			r, ok := new(big.Rat).SetString(text)
			if !ok {
				t.Fatalf("%q is %d, and no number", text, n)
			}
			off := new(big.Rat).Sub(r.Mul(r, big.NewRat(int64(Dollar), 1)), new(big.Rat).SetInt64(int64(n)))
			if off.Abs(off).Cmp(big.NewRat(1, 2)) > 0 {
				t.Errorf("%q: %d is off by %s", text, n, off.FloatString(3))
			}
		}
		if again, err := Parse(n.String()); err != nil || again != n {
			t.Errorf("%q: %d reads back as %d, %v", text, n, again, err)
		}
	})
}
