package admin

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"sluice/proxy/llm"
)

// The cost of a password: 64 MiB and three passes, as OWASP's stronger row for
// argon2id has it.
const (
	passwordMemory = 64 << 10 // KiB
	passwordPasses = 3
	// passwordLimit is how many of them one call may wait for.
	passwordLimit = 10
)

// passwords hashes one password at a time: each takes memory that a worker has
// better uses for.
type passwords struct {
	memory, passes uint32        // KiB, and how often they are gone through
	one            chan struct{} // has room while none is hashed
}

// hash makes the text that is stored for a password, in the PHC form. It waits
// for its turn until the context ends.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	select {
	case p.one <- struct{}{}:
		defer func() { <-p.one }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	var salt [16]byte
	_, _ = rand.Read(salt[:]) // never fails
	sum := argon2.IDKey([]byte(password), salt[:], p.passes, p.memory, 1, 32)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, p.memory, p.passes, b64.EncodeToString(salt[:]), b64.EncodeToString(sum)), nil
}

// newPassword is the hash of the body's password; "" where it has none. It takes
// a tenth of a second, so whether the caller may set one is asked before.
func (a *API) newPassword(c *Call) (string, *llm.Error) {
	if !c.Body.Given("password") {
		return "", nil
	}
	password := c.Body.Text("password")
	if n := utf8.RuneCountInString(password); n < 8 || n > 128 {
		return "", badRequest(fmt.Sprintf("password must have 8 to 128 characters; the one received has %d.", n), "password")
	}
	hash, err := a.passwords.hash(c.Ctx, password)
	if err != nil {
		return "", &llm.Error{
			Kind: llm.KindUnavailable, Status: 503, Type: "overloaded_error", RetryAfter: time.Second, Err: err,
			Message: "Too many passwords are being set at once. Nothing was changed; send the request again shortly.",
		}
	}
	return hash, nil
}
