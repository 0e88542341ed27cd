package seal

import (
	"encoding/hex"
	"errors"
)

// What the table of sealing keys keeps of a key: a text that only the key itself
// opens, and the key of the audit chain that was derived from it, under another
// key, so that the record can be verified when the key is gone.
const (
	keptIn    = "sealing_keys"
	checkText = "sluice"
)

// Check is a text that opens under the key that seals, and names it.
func (r *Ring) Check() (string, error) {
	return r.Seal(Place(keptIn, r.id, "seal_check"), checkText)
}

// IsOf reports whether a key is the one that a check was made with: nil, or one
// of this package's errors. id is the key that the row of the check is about.
func (r *Ring) IsOf(id, check string) error {
	plain, err := r.Open(Place(keptIn, id, "seal_check"), check)
	if err == nil && plain != checkText {
		err = ErrBroken
	}
	return err
}

// KeepAudit seals the key of the chain that belongs to the key id.
func (r *Ring) KeepAudit(id string, key [32]byte) (string, error) {
	return r.Seal(Place(keptIn, id, "audit_key"), hex.EncodeToString(key[:]))
}

// KeptAudit opens what KeepAudit sealed for the key id.
func (r *Ring) KeptAudit(id, sealed string) (key [32]byte, err error) {
	plain, err := r.Open(Place(keptIn, id, "audit_key"), sealed)
	if err != nil {
		return key, err
	}
	raw, err := hex.DecodeString(plain)
	if err != nil || len(raw) != len(key) {
		return key, errors.New("the kept key of the audit chain is not one")
	}
	return [32]byte(raw), nil
}
