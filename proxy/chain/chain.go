// Package chain is the chain of codes over the record of changes. Each row has
// the HMAC-SHA256 of its columns and of the code before it, under a key that is
// derived from the sealing key which the row names: a row that is changed,
// taken out, put in or moved no longer fits its code, or that of the next row.
// What only the end of the record could tell, that rows are missing from it, is
// told by a head that was kept elsewhere. The package imports nothing of ours:
// the store, the migrator and the readers of archived files share it.
package chain

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"time"
)

// Purpose names the derivation of a chain key from a sealing key.
const Purpose = "audit chain"

// form starts what is authenticated, so that a later form of it can never be
// taken for this one.
const form = "sluice audit row 1"

// Row is a row of the record of changes, as the database holds it.
type Row struct {
	Number                  int64
	At                      time.Time // counted to the microsecond
	Actor, ActorKey         string
	ClaimedActor, Action    string
	ObjectType, ObjectID    string
	Before, After           []byte // to the letter; nil: NULL
	Source, RequestID, Host string
	Reason                  string
	Key                     string // id of the sealing key that MAC was made under
	MAC                     []byte // nil: not chained yet
}

// MAC is the code of a row: of every column but MAC itself, and of the code of
// the row before, which is empty for the first row. Columns are written with
// their lengths, so that no two rows are the same text.
func MAC(key [32]byte, previous []byte, r *Row) []byte {
	return sum(hmac.New(sha256.New, key[:]), previous, r)
}

// sum uses a keyed hash again.
func sum(h hash.Hash, previous []byte, r *Row) []byte {
	h.Reset()
	w := writer{h: h, buffer: make([]byte, 0, 512)}
	w.text(form)
	w.text(string(previous))
	w.number(r.Number)
	w.number(r.At.UnixMicro())
	for _, s := range []string{r.Actor, r.ActorKey, r.ClaimedActor, r.Action, r.ObjectType, r.ObjectID} {
		w.text(s)
	}
	w.optional(r.Before)
	w.optional(r.After)
	for _, s := range []string{r.Source, r.RequestID, r.Host, r.Reason, r.Key} {
		w.text(s)
	}
	w.flush()
	return h.Sum(nil)
}

// Stretch is a stretch of the record that was moved to a file: its first and
// last rows, the code before the first one, which is nil where the record
// begins, and that of the last one.
type Stretch struct {
	First, Last int64
	Before      []byte
	LastMAC     []byte
	File        string // name of the file
	Digest      []byte // SHA-256 of the file
	At          time.Time
	Key         string // id of the sealing key that MAC was made under
	MAC         []byte // of all that is above
}

// Sum is the code of a stretch under the chain key of the sealing key s.Key.
func (s *Stretch) Sum(key [32]byte) []byte {
	h := hmac.New(sha256.New, key[:])
	w := writer{h: h, buffer: make([]byte, 0, 512)}
	w.text("sluice audit stretch 1")
	w.number(s.First)
	w.number(s.Last)
	w.optional(s.Before)
	w.text(string(s.LastMAC))
	w.text(s.File)
	w.text(string(s.Digest))
	w.number(s.At.UnixMicro())
	w.text(s.Key)
	w.flush()
	return h.Sum(nil)
}

// writer feeds a hash from a buffer: a hash takes no strings.
type writer struct {
	h      hash.Hash
	buffer []byte
}

func (w *writer) number(n int64) { w.buffer = binary.BigEndian.AppendUint64(w.buffer, uint64(n)) }

func (w *writer) text(s string) {
	w.number(int64(len(s)))
	w.buffer = append(w.buffer, s...)
}

// optional keeps what is absent apart from what is empty.
func (w *writer) optional(b []byte) {
	if b == nil {
		w.number(-1)
		return
	}
	w.number(int64(len(b)))
	w.flush()
	_, _ = w.h.Write(b)
}

func (w *writer) flush() {
	_, _ = w.h.Write(w.buffer)
	w.buffer = w.buffer[:0]
}
