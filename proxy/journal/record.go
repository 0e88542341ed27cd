package journal

import "sluice/proxy/bill"

// Record is one record of a segment. The set is closed: *Intent, *Progress,
// *Settle, *Reject, *PriceDoc, *Body, *Finish, *Damaged.
type Record interface{ record() }

// Intent was written before the first byte went to a provider.
type Intent struct {
	Sequence int64 // orders the records of a host's life: generation × 2^40 + number
	bill.Intent
}

// Progress tells how much of a stream has been produced.
type Progress struct {
	Sequence  int64
	RequestID [16]byte
	Attempt   int64
	Output    int64 // tokens so far
}

// Settle tells how an attempt ended.
type Settle struct {
	Sequence  int64
	RequestID [16]byte
	Attempt   int64
	bill.Settle
}

// Reject is a request that was refused before any provider was called.
type Reject struct {
	Sequence int64
	Intent   bill.Intent
	Settle   bill.Settle
}

// PriceDoc is the document of a version of a price. It stands in a segment
// before the first intent that names the version.
type PriceDoc struct {
	Version  int64
	Document []byte
}

// Body is what is kept of a request and its answer; only in body segments.
type Body struct {
	RequestID                    [16]byte
	Attempt                      int64
	Messages, Response, Metadata []byte
}

// Finish is the last record of a segment whose writer went on to the next one
// or stopped.
type Finish struct {
	Last bool // the writer stopped: there is no next segment
}

// Damaged stands for bytes that had been written and cannot be read: a torn
// page, a flipped bit, a file cut short. The offsets given beside it are the
// range. Each range is told once to who goes on at what Read gave.
type Damaged struct{}

func (*Intent) record()   {}
func (*Progress) record() {}
func (*Settle) record()   {}
func (*Reject) record()   {}
func (*PriceDoc) record() {}
func (*Body) record()     {}
func (*Finish) record()   {}
func (*Damaged) record()  {}
