package seal

import (
	"fmt"
	"math"
	"strings"

	"sluice/internal/env"
)

const (
	// minSecret is how many bytes a master key, a salt key or a secret of a ring
	// has to have.
	minSecret = 32
	// minBits is the least entropy that one is estimated to have. Of random
	// texts of 32 hexadecimal or decimal digits none is anywhere near below.
	minBits = 64
)

// examples are keys out of documentation, and what people write where a key is
// to come, in small letters and digits only.
var examples = []string{
	"sk1234", "changeme", "changethis", "replaceme", "placeholder", "yoursecret", "yoursalt", "yourmaster", "yourkey",
	"yourapikey", "mysecret", "mysalt", "mymasterkey", "example", "password", "litellmmasterkey", "litellmsaltkey", "randomhash", "supersecret",
}

// Weak says why a secret is weak: a published example, shorter than 32 bytes,
// or too regular. It is "" for a good one. The reason completes a sentence that
// begins with the name of the secret, and holds nothing of it.
func Weak(secret env.Secret) string {
	text := secret.Reveal()
	plain := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return -1
	}, strings.ToLower(text))
	for _, e := range examples {
		if strings.Contains(plain, e) && (len(plain) < 2*len(e)+minSecret) {
			return "is a published example, or close to one"
		}
	}
	if len(text) < minSecret {
		return fmt.Sprintf("has fewer than %d characters", minSecret)
	}
	if bits(text) < minBits {
		return "is too regular to be hard to guess"
	}
	return ""
}

// bits estimates the entropy of a text: that of its distribution of bytes, for
// each byte that neither goes on with a run or a sequence (aaaa, 1234) nor
// repeats what stood before (abcabc).
func bits(text string) float64 {
	var count [256]float64
	seen := map[string]bool{}
	fresh := 0.0
	for i := range len(text) {
		count[text[i]]++
		step := func(at int) int { return int(text[at]) - int(text[at-1]) }
		goesOn := i >= 2 && step(i) == step(i-1) && step(i) >= -1 && step(i) <= 1
		again := i >= 2 && seen[text[i-2:i+1]]
		if i >= 2 {
			seen[text[i-2:i+1]] = true
		}
		if !goesOn && !again {
			fresh++
		}
	}
	entropy := 0.0
	for _, n := range count {
		if n > 0 {
			p := n / float64(len(text))
			entropy -= p * math.Log2(p)
		}
	}
	return entropy * fresh
}
