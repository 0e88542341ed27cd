package store

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"

	"sluice/proxy/bill"
)

// callFields are the columns of spend_calls, in the order of the table.
func callFields() []field {
	return []field{
		{"request_id", asUUID},
		{"attempt", asInt},
		{"context_id", asInt},
		{"started_at", asInt},
		{"first_byte_after", asInt},
		{"ended_after", asInt},
		{"prompt_tokens", asInt},
		{"completion_tokens", asInt},
		{"cost", asInt},
		{"sequence", asInt},
		{"provider_request_id", asText},
		{"call_id", asText},
		{"client_address", asText},
		{"extra", asLetters},
	}
}

// fillCall writes an attempt into a block of callFields.
func fillCall(b *block, r *bill.Attempt, context int64, scratch []byte) []byte {
	started := floorDiv(r.Intent.At, 1000)
	b.uuid(&r.RequestID)
	b.int(r.Attempt)
	b.int(context)
	b.int(started)
	if r.FirstByteAt == 0 {
		b.null()
	} else {
		b.int(floorDiv(r.FirstByteAt, 1000) - started)
	}
	b.int(floorDiv(r.Settle.At, 1000) - started)
	b.int(r.Usage.Input)
	b.int(r.Usage.Output)
	b.int(int64(r.Cost))
	b.int(r.Sequence)
	b.some(r.ProviderID)
	if isID(r.CallID, &r.RequestID) {
		b.null()
	} else {
		b.kept(r.CallID)
	}
	b.some(r.ClientAddress)
	scratch = appendExtra(scratch[:0], r)
	if len(scratch) == 0 {
		b.null()
	} else {
		b.json(scratch)
	}
	return scratch
}

// some writes a text, NULL for none.
func (b *block) some(s string) {
	if s == "" {
		b.null()
		return
	}
	b.kept(s)
}

// isID says that s is an id as text, as the view spells it.
func isID(s string, id *[16]byte) bool {
	if len(s) != 36 {
		return false
	}
	var text [36]byte
	hex.Encode(text[:], id[:4])
	hex.Encode(text[9:], id[4:6])
	hex.Encode(text[14:], id[6:8])
	hex.Encode(text[19:], id[8:10])
	hex.Encode(text[24:], id[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return s == string(text[:])
}

// appendExtra writes what most calls have not as a JSON object, nothing where
// there is nothing. Documents are texts in it: they stay as they were written.
func appendExtra(dst []byte, r *bill.Attempt) []byte {
	u, from := &r.Usage, len(dst)
	name := func(name string) {
		c := byte(',')
		if len(dst) == from {
			c = '{'
		}
		dst = append(append(append(dst, c, '"'), name...), '"', ':')
	}
	number := func(column string, n, usual int64) {
		if n != usual {
			name(column)
			dst = strconv.AppendInt(dst, n, 10)
		}
	}
	text := func(column, s string) {
		if s != "" {
			name(column)
			quoted, _ := json.Marshal(s) // a string always can be
			dst = append(dst, quoted...)
		}
	}
	text("end_user", kept(r.EndUser))
	text("session_id", kept(r.Session))
	if r.ModelID == "" {
		text("model", kept(r.Model))
	}
	number("total_tokens", u.Total, u.Input+u.Output)
	number("cache_read_tokens", u.CachedIn, 0)
	number("cache_write_tokens", u.CacheWrite, 0)
	number("reasoning_tokens", u.Reasoning, 0)
	if detail := appendDetail(nil, u); detail != nil {
		text("usage_detail", string(detail))
	}
	if len(r.Tags) > 0 {
		text("tags", string(appendTags(nil, r.Tags)))
	}
	if r.Metadata != "" {
		text("metadata", string(documentOf(r.Metadata)))
	}
	if len(dst) > from {
		dst = append(dst, '}')
	}
	return dst
}

// there marks the rows that are among those written as a whole, from before or for
// want of room: a row is in one of both tables.
func (t *fileShip) there(b *Batch, there []bool) error {
	if len(b.Rows) == 0 {
		return nil
	}
	least, most := &b.Rows[0].RequestID, &b.Rows[0].RequestID
	for _, r := range b.Rows {
		if bytes.Compare(r.RequestID[:], least[:]) < 0 {
			least = &r.RequestID
		}
		if bytes.Compare(r.RequestID[:], most[:]) > 0 {
			most = &r.RequestID
		}
	}
	id := func(id *[16]byte) cell { return cell{sort: cellBlob, text: string(id[:])} }
	any, err := t.number("SELECT 1 FROM spend_whole WHERE request_id >= ? AND request_id <= ? LIMIT 1", id(least), id(most))
	if err != nil || any == 0 {
		return err
	}
	for i, r := range b.Rows {
		pauseAfter(i)
		n, err := t.number("SELECT 1 FROM spend_whole WHERE request_id = ? AND attempt = ?", id(&r.RequestID), cell{sort: cellInt, n: r.Attempt})
		if err != nil {
			return err
		}
		there[i] = n != 0
	}
	return nil
}

// writing is rows of one table that are inserted together.
type writing struct {
	table string
	rows  *block
	of    []int // places in the batch
}

// write inserts rows and marks them as inserted.
func (t *fileShip) write(w *writing, inserted []bool) error {
	if len(w.of) == 0 {
		return nil
	}
	n, err := t.insert(w.table, w.rows)
	switch {
	case err != nil:
		return err
	case n == int64(len(w.of)):
		for _, i := range w.of {
			inserted[i] = true
		}
	case len(w.of) > 1: // some were there: which ones shows one by one
		return errApart
	}
	w.rows.reset()
	w.of = w.of[:0]
	return nil
}

// put writes the rows of a batch that are not there, each with the number of its
// context, or as a whole where there is no room for that.
func (t *fileShip) put(b *Batch, from, to int, there, inserted []bool, calls, whole *writing) error {
	for i := from; i < to; i++ {
		if there[i] {
			continue
		}
		r := b.Rows[i]
		if b.Slim {
			r = slimmed(r)
		}
		context, err := t.context(r)
		if err != nil {
			return err
		}
		w := calls
		if context == 0 {
			w = whole
			t.scratch = fillRow(w.rows, r, false, t.scratch)
		} else {
			t.scratch = fillCall(w.rows, r, context, t.scratch)
		}
		if w.of = append(w.of, i); b.apart || len(w.of) == rowsAtOnce {
			if err := t.write(w, inserted); err != nil {
				return err
			}
		}
	}
	return nil
}
