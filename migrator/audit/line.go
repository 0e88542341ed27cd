package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"sluice/proxy/chain"
)

// stamp is the form of times in files: UTC, always with six digits, so that one
// moment has one text.
const stamp = "2006-01-02T15:04:05.000000Z"

// line is one row of the record in a file, every column to the letter. What is
// read back is written again and compared, so a row has exactly one text.
type line struct {
	Number       int64    `json:"number"`
	At           string   `json:"at"`
	Actor        letters  `json:"actor"`
	ActorKey     letters  `json:"actor_key"`
	ClaimedActor letters  `json:"claimed_actor"`
	Action       letters  `json:"action"`
	ObjectType   letters  `json:"object_type"`
	ObjectID     letters  `json:"object_id"`
	Before       *letters `json:"before"`
	After        *letters `json:"after"`
	Source       letters  `json:"source"`
	RequestID    letters  `json:"request_id"`
	Host         letters  `json:"host"`
	Reason       letters  `json:"reason"`
	Key          letters  `json:"chain_key"`
	MAC          digest   `json:"chain_mac"`
}

func lineOf(r *chain.Row) *line {
	optional := func(b []byte) *letters {
		if b == nil {
			return nil
		}
		text := letters(b)
		return &text
	}
	return &line{
		Number: r.Number, At: r.At.UTC().Format(stamp), Actor: letters(r.Actor), ActorKey: letters(r.ActorKey),
		ClaimedActor: letters(r.ClaimedActor), Action: letters(r.Action), ObjectType: letters(r.ObjectType), ObjectID: letters(r.ObjectID),
		Before: optional(r.Before), After: optional(r.After), Source: letters(r.Source), RequestID: letters(r.RequestID),
		Host: letters(r.Host), Reason: letters(r.Reason), Key: letters(r.Key), MAC: r.MAC,
	}
}

// row is the reverse of lineOf.
func (l *line) row() (chain.Row, error) {
	at, err := time.Parse(stamp, l.At)
	if err != nil {
		return chain.Row{}, errors.New("at is no time")
	}
	optional := func(text *letters) []byte {
		if text == nil {
			return nil
		}
		return append([]byte{}, *text...)
	}
	return chain.Row{
		Number: l.Number, At: at, Actor: string(l.Actor), ActorKey: string(l.ActorKey), ClaimedActor: string(l.ClaimedActor),
		Action: string(l.Action), ObjectType: string(l.ObjectType), ObjectID: string(l.ObjectID), Before: optional(l.Before),
		After: optional(l.After), Source: string(l.Source), RequestID: string(l.RequestID), Host: string(l.Host),
		Reason: string(l.Reason), Key: string(l.Key), MAC: l.MAC,
	}, nil
}

// letters is a text in JSON: a string, or {"base64":"…"} where it is not UTF-8,
// which no string of JSON can be.
type letters string

type notUTF8 struct {
	Base64 string `json:"base64"`
}

// MarshalJSON implements json.Marshaler.
func (l letters) MarshalJSON() ([]byte, error) {
	if !utf8.ValidString(string(l)) {
		return json.Marshal(notUTF8{base64.StdEncoding.EncodeToString([]byte(l))})
	}
	return encoded(string(l))
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *letters) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '{' {
		return json.Unmarshal(b, (*string)(l))
	}
	var n notUTF8
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	text, err := base64.StdEncoding.Strict().DecodeString(n.Base64)
	*l = letters(text)
	return err
}

// digest is bytes as hex digits; none are "".
type digest []byte

// MarshalText implements encoding.TextMarshaler.
func (d digest) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(d)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *digest) UnmarshalText(text []byte) error {
	*d = nil
	if len(text) == 0 {
		return nil
	}
	raw, err := hex.DecodeString(string(text))
	*d = raw
	return err
}

// encoded is a value as one line of JSON, without the end of the line.
func encoded(v any) ([]byte, error) {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(v); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// exactly reads a value from a text that is what encoded makes of it, to the
// letter: no field more, no blank, no other spelling.
func exactly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	again, err := encoded(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, text) {
		return errors.New("it is not written as an archive is")
	}
	return nil
}
