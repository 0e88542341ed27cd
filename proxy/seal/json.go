package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// SealJSON seals every text inside a JSON value, at any depth; numbers, truth
// values and names of fields stay. Each text is bound to where it stands: the
// table, the row, and the path of its field, which for the value itself is
// field and further in has the names and indexes behind it, as in a JSON pointer:
// extra_headers/Authorization.
func (r *Ring) SealJSON(table, key, field string, value json.RawMessage) (json.RawMessage, error) {
	return eachText(field, value, func(path, text string) (string, error) { return r.Seal(Place(table, key, path), text) })
}

// OpenJSON is the reverse of SealJSON. A text that is not sealed is an error: in
// a place for secrets it was put there by somebody without the key.
func (r *Ring) OpenJSON(table, key, field string, value json.RawMessage) (json.RawMessage, error) {
	return eachText(field, value, func(path, text string) (string, error) {
		plain, err := r.Open(Place(table, key, path), text)
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		return plain, nil
	})
}

// eachText replaces the texts of a JSON value.
func eachText(path string, value json.RawMessage, replace func(path, text string) (string, error)) (json.RawMessage, error) {
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return nil, errors.New(path + ": no JSON value")
	}
	switch value[0] {
	case '"':
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out, err := replace(path, text)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	case '[':
		var items []json.RawMessage
		if err := json.Unmarshal(value, &items); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for i := range items {
			var err error
			if items[i], err = eachText(path+"/"+strconv.Itoa(i), items[i], replace); err != nil {
				return nil, err
			}
		}
		return json.Marshal(items)
	case '{':
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(value, &fields); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			var err error
			if fields[name], err = eachText(path+"/"+pointer.Replace(name), fields[name], replace); err != nil {
				return nil, err
			}
		}
		return json.Marshal(fields)
	default:
		return value, nil
	}
}

// pointer escapes a name as a JSON pointer does.
var pointer = strings.NewReplacer("~", "~0", "/", "~1")
