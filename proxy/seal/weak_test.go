package seal

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"math"
	"math/big"
	"strings"
	"testing"

	"sluice/internal/env"
)

func TestWeak(t *testing.T) {
	for text, want := range map[string]string{
		"sk-1234":                               "published example",
		"sk-1234567890":                         "published example",
		"CHANGE_ME":                             "published example",
		"your-salt-key-your-salt-key-your-salt": "published example",
		"sk-qX9vT2":                             "fewer than 32",
		"":                                      "fewer than 32",
		"sk-" + strings.Repeat("a", 60):         "too regular",
		strings.Repeat("123456789", 6):          "too regular",
		strings.Repeat("Xk9-", 16):              "too regular",
		"abcdefghijklmnopqrstuvwxyz0123456789":  "too regular",
		"correct-horse-battery-staple-and-more": "",
		"0f8fad5b-d9cb-469f-a165-70867728950e":  "",
	} {
		got := Weak(env.Secret(text))
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestStrongKeys: what people make keys with is never called weak.
func TestStrongKeys(t *testing.T) {
	least := math.Inf(1)
	for range 3000 {
		random := make([]byte, 32)
		_, _ = rand.Read(random)
		number, err := rand.Int(rand.Reader, new(big.Int).Exp(big.NewInt(10), big.NewInt(40), nil))
		if err != nil {
			t.Fatal(err)
		}
		digits := number.String()
		for len(digits) < 40 {
			digits = "7" + digits
		}
		for _, text := range []string{
			hex.EncodeToString(random[:16]), hex.EncodeToString(random), digits,
			"sk-" + base64.RawURLEncoding.EncodeToString(random), base64.StdEncoding.EncodeToString(random[:24]),
		} {
			least = min(least, bits(text))
			if why := Weak(env.Secret(text)); why != "" {
				t.Fatalf("%s %s", text, why)
			}
		}
	}
	t.Logf("least estimate: %.0f bits", least)
}
