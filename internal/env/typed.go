package env

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// show returns the value of a variable as an error may show it.
func show(name, value string) string {
	if SecretName(name) {
		return masked
	}
	if len(value) > 64 {
		value = value[:64] + masked
	}
	return strconv.Quote(value)
}

func wrong(name, value, allowed string) error {
	return fmt.Errorf("%s=%s: allowed: %s", name, show(name, value), allowed)
}

// Int returns a whole number, or the default where the variable is not set or
// empty.
func (e *Environ) Int(name string, def int) (int, error) {
	text := strings.TrimSpace(e.Get(name))
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return def, wrong(name, text, "a whole number")
	}
	return n, nil
}

// ParseBool reads a truth value: true, 1, yes, on, t, y and false, 0, no, off,
// f, n, whatever their case.
func ParseBool(text string) (value, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "1", "yes", "on", "t", "y":
		return true, true
	case "false", "0", "no", "off", "f", "n":
		return false, true
	default:
		return false, false
	}
}

// Bool returns a truth value, or the default where the variable is not set or
// empty. See ParseBool for what is allowed.
func (e *Environ) Bool(name string, def bool) (bool, error) {
	text := e.Get(name)
	if strings.TrimSpace(text) == "" {
		return def, nil
	}
	value, ok := ParseBool(text)
	if !ok {
		return def, wrong(name, text, "true, false, 1, 0, yes, no, on, off")
	}
	return value, nil
}

// ParseDuration reads a duration: a plain number is seconds ("30", "1.5"),
// else Go's form ("500ms", "1m30s") or whole days and weeks ("7d", "2w").
// Negative durations, and those above 100 years, are refused.
func ParseDuration(text string) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	const most = 100 * 365 * 24 * time.Hour
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(seconds) || seconds < 0 || seconds > most.Seconds() {
			return 0, false
		}
		return time.Duration(seconds * float64(time.Second)), true
	}
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			n, err := strconv.ParseUint(number, 10, 16)
			if err != nil || n > uint64(most/unit) {
				return 0, false
			}
			return time.Duration(n) * unit, true
		}
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d >= 0 && d <= most
}

// Duration returns a duration, or the default where the variable is not set or
// empty. See ParseDuration for what is allowed.
func (e *Environ) Duration(name string, def time.Duration) (time.Duration, error) {
	text := e.Get(name)
	if strings.TrimSpace(text) == "" {
		return def, nil
	}
	d, ok := ParseDuration(text)
	if !ok {
		return def, wrong(name, text, "seconds, or a duration such as 500ms, 30s, 5m, 7d")
	}
	return d, nil
}

// Seconds is Duration: a plain number is seconds.
func (e *Environ) Seconds(name string, def time.Duration) (time.Duration, error) {
	return e.Duration(name, def)
}
