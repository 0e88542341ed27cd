package seal

import "sluice/internal/env"

// Weak says why a secret is weak, "" for a good one. The reason holds nothing of
// the secret.
func Weak(secret env.Secret) string {
	if len(secret.Reveal()) < 32 {
		return "has fewer than 32 characters"
	}
	return ""
}
