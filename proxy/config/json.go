package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// valueOf reads JSON as a value of the configuration. Every text is given to
// refer, where that is not nil.
func valueOf(data []byte, refer func(*value)) (*value, error) {
	if len(data) > maxFile {
		return nil, errors.New("it is too large")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decodeValue(d, refer, 0)
	if err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("there is more than one value")
	}
	return v, nil
}

func decodeValue(d *json.Decoder, refer func(*value), depth int) (*value, error) {
	if depth > maxDepth {
		return nil, errors.New("it is nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return nil, errors.New("it is no JSON")
	}
	v := &value{at: Pos{File: Database}}
	switch t := t.(type) {
	case nil:
	case bool:
		v.is, v.on, v.text = boolean, t, "false"
		if t {
			v.text = "true"
		}
	case json.Number:
		v.is, v.text = integer, t.String()
		if strings.ContainsAny(v.text, ".eE") || wholeText(v.text) == "0" && strings.Trim(v.text, "-0") != "" {
			v.is = number
		}
	case string:
		v.is, v.text = text, t
		if refer != nil {
			refer(v)
		}
	case json.Delim:
		return v, v.decodeInside(d, t, refer, depth+1)
	}
	return v, nil
}

// decodeInside reads what is in a list or a map, up to its end.
func (v *value) decodeInside(d *json.Decoder, open json.Delim, refer func(*value), depth int) error {
	v.is = list
	if open == '{' {
		v.is = mapping
	}
	for d.More() {
		name := ""
		if v.is == mapping {
			t, err := d.Token()
			if err != nil {
				return errors.New("it is no JSON")
			}
			name, _ = t.(string)
		}
		one, err := decodeValue(d, refer, depth)
		if err != nil {
			return err
		}
		if v.is == list {
			v.items = append(v.items, one)
		} else {
			v.entries = append(v.entries, entry{name, v.at, one})
		}
	}
	if _, err := d.Token(); err != nil {
		return errors.New("it is no JSON")
	}
	return nil
}
