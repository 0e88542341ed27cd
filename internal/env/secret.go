package env

import (
	"fmt"
	"io"
	"log/slog"
)

// masked is what every secret prints as, an empty one too: whether one is set
// is told elsewhere.
const masked = "…"

// Secret is a text that prints as "…" in every format: fmt, slog, JSON, YAML.
// Beware of unexported struct fields, on which fmt calls no methods: never
// print a struct that holds a secret so.
type Secret string

// Reveal returns the text itself. Whoever calls it sees that it is not logged.
func (s Secret) Reveal() string { return string(s) }

// String returns "…".
func (s Secret) String() string { return masked }

// GoString returns "…".
func (s Secret) GoString() string { return masked }

// Format writes "…" for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, masked) }

// LogValue returns "…".
func (s Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText returns "…".
func (s Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// MarshalYAML returns "…".
func (s Secret) MarshalYAML() (any, error) { return masked, nil }
