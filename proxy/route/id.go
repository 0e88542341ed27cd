package route

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
)

// Pair is one key of litellm_params with its value as text: strings raw, maps
// and lists as JSON, others as they print.
type Pair struct{ Key, Value string }

// StableID is the id of a deployment that was given none: hex SHA-256 over the
// model name and every key and value in the order of the file, so that it stays
// the same over restarts and across hosts.
func StableID(modelName string, params []Pair) string {
	h := sha256.New()
	_, _ = io.WriteString(h, modelName)
	for _, p := range params {
		_, _ = io.WriteString(h, p.Key)
		_, _ = io.WriteString(h, p.Value)
	}
	return hex.EncodeToString(h.Sum(nil))
}
