package money

import (
	"encoding/json"
	"errors"
	"math"
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

func FuzzParse(f *testing.F) {
	f.Add("1.25e-3")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(n.String()); err != nil || again != n {
			t.Errorf("%q: %d reads back as %d, %v", text, n, again, err)
		}
	})
}
