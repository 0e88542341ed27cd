// Package auth says who calls. In this release one master key exists; it is
// compared by its SHA-256 in constant time.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"

	"sluice/proxy/identity"
	"sluice/proxy/llm"
)

// Identity is a known caller. The zero value is nobody.
type Identity struct {
	Known        bool          // the key is one of ours, good for now
	Master       bool          // it is the master key
	Role         identity.Role // of the user that the key belongs to; the master key is a proxy admin
	KeyHash      [64]byte      // hex SHA-256 of the key
	Alias        string        // the key's alias, as metrics and logs show it
	User         string        // the user it belongs to
	Team         string
	TeamAlias    string
	Organization string
	Key          *identity.Key // nil for the master key; shared, never changed
}

// Config is what Keys is made from.
type Config struct {
	MasterKey string // "" means that no key is accepted
}

// Keys knows the keys of one generation of the configuration. It is immutable.
type Keys struct {
	set    bool
	master [sha256.Size]byte
	admin  Identity
}

// New makes the keys of a configuration. It keeps no key, only its digest.
func New(c Config) *Keys {
	k := &Keys{set: c.MasterKey != "", master: sha256.Sum256([]byte(c.MasterKey))}
	k.admin = Identity{Known: true, Master: true, Role: identity.RoleProxyAdmin, Alias: "None", User: identity.DefaultUserID}
	hex.Encode(k.admin.KeyHash[:], k.master[:])
	return k
}

// Identify names the caller behind a credential. nil means that the request
// carried none.
func (k *Keys) Identify(key []byte) (Identity, *llm.Error) {
	if len(key) == 0 {
		return Identity{}, &llm.Error{
			Kind: llm.KindAuth, Type: "auth_error", Param: "None",
			Message: "Authentication Error, No api key passed in.",
		}
	}
	digest := sha256.Sum256(key)
	if subtle.ConstantTimeCompare(digest[:], k.master[:]) == 1 && k.set {
		return k.admin, nil
	}
	if len(key) < 3 || string(key[:3]) != "sk-" {
		return Identity{}, &llm.Error{
			Kind: llm.KindAuth, Type: "auth_error", Param: "None",
			Message: "Authentication Error, a key starts with 'sk-'; the one received does not.",
		}
	}
	return Identity{}, &llm.Error{
		Kind: llm.KindAuth, Type: "token_not_found_in_db", Param: "key",
		Message: "Authentication Error, Invalid proxy server token passed. Key Hash (Token) = " + hex.EncodeToString(digest[:]) + " is not known.",
	}
}
