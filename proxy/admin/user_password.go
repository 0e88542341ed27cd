package admin

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sync"
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
type passwords struct{ one sync.Mutex }

// hash makes the text that is stored for a password, in the PHC form.
func (p *passwords) hash(password string) string {
	var salt [16]byte
	_, _ = rand.Read(salt[:]) // never fails
	p.one.Lock()
	defer p.one.Unlock()
	sum := argon2.IDKey([]byte(password), salt[:], passwordPasses, passwordMemory, 1, 32)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, passwordMemory, passwordPasses, b64.EncodeToString(salt[:]), b64.EncodeToString(sum))
}

// newPassword is the hash of the body's password; "" where it has none.
func (a *API) newPassword(b Body) (string, *llm.Error) {
	if !b.Given("password") {
		return "", nil
	}
	password := b.Text("password")
	if n := utf8.RuneCountInString(password); n < 8 || n > 128 {
		return "", badRequest(fmt.Sprintf("password must have 8 to 128 characters; the one received has %d.", n), "password")
	}
	return a.passwords.hash(password), nil
}
