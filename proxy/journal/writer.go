package journal

import (
	"log/slog"
	"time"

	"sluice/proxy/bill"
)

// Config is what a Writer is made of.
type Config struct {
	Dir        string // of the segments; it is made when it is not there
	Second     string // where segments are made once Dir fails; "" none (SLUICE_JOURNAL_DIR)
	Host       string // id of this host
	Holder     string // the life of the host table, 32 hex digits
	Slot       int
	Generation int64

	Bound     int64 // bytes that may wait for the database; 0: min(8 GiB, 60 % of what is free)
	BodyBound int64 // bytes of body segments; 0: 256 MiB or a 16th of Bound, negative: keep none
	Sync      Sync
	Now       func() time.Time // nil: time.Now
	Log       *slog.Logger     // nil: none
}

// Writer writes the journal of one generation. Its methods may be called from
// many goroutines at once.
type Writer struct{}

// Open makes the directories and the first segment.
func Open(c Config) (*Writer, error) { return &Writer{}, nil }

// Intent writes down an attempt before its first byte goes to a provider. price
// may be nil where in.Price is 0. ErrFull: the attempt must not be made.
func (w *Writer) Intent(in *bill.Intent, price Price) error { return nil }

// Progress writes down how many tokens a stream has produced so far.
func (w *Writer) Progress(id [16]byte, attempt, output int64) error { return nil }

// Settle writes down how an attempt ended.
func (w *Writer) Settle(id [16]byte, attempt int64, s *bill.Settle) error { return nil }

// Reject writes down a request that was refused before any provider was called.
// It is never refused by the bound, but left out beyond it: then ErrFull.
func (w *Writer) Reject(in *bill.Intent, s *bill.Settle) error { return nil }

// Body keeps a request and its answer, each a JSON text or nil. What cannot be
// kept at once is dropped and counted.
func (w *Writer) Body(id [16]byte, attempt int64, messages, response, metadata []byte) {}

// Full reports whether intents are refused at present. It is cheap.
func (w *Writer) Full() bool { return false }

// Stats are the figures so far.
func (w *Writer) Stats() Stats { return Stats{} }

// Close finishes the segment. Nothing can be written afterwards.
func (w *Writer) Close() error { return nil }
