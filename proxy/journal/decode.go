package journal

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"strings"
	"unsafe"

	"sluice/proxy/bill"
	"sluice/proxy/money"
)

var errFields = errors.New("fields of a record are malformed")

// field is one field of a record.
type field struct {
	number int
	n      int64
	text   string
}

// next takes the first field off b.
func next(b string) (f field, rest string, ok bool) {
	key, k := uvarint(b)
	if k <= 0 || key>>1 > 1<<20 {
		return f, "", false
	}
	f.number, b = int(key>>1), b[k:]
	n, k := uvarint(b)
	if k <= 0 {
		return f, "", false
	}
	b = b[k:]
	if key&1 == 0 {
		f.n = int64(n>>1) ^ -int64(n&1) // zigzag
		return f, b, true
	}
	if n > uint64(len(b)) {
		return f, "", false
	}
	f.text = b[:n]
	return f, b[n:], true
}

// uvarint is binary.Uvarint of a text; most are of one byte.
func uvarint(s string) (uint64, int) {
	if len(s) > 0 && s[0] < 0x80 {
		return uint64(s[0]), 1
	}
	return binary.Uvarint(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// decoder reads records. What it gives is good until the next one, but what
// texts, tags and accounts of it point at is nobody's and stays as it is.
type decoder struct {
	intent   Intent
	settle   Settle
	progress Progress
	reject   Reject

	tags     []string
	accounts []bill.Account
	*sharing
}

func newDecoder() *decoder { return &decoder{sharing: &sharing{seed: maphash.MakeSeed()}} }

// decode reads a sound record. It is nil for a type that this release does not
// know.
func (d *decoder) decode(rec []byte) (Record, error) {
	// The fields are read where they stand; what is kept of them is copied.
	fields := unsafe.String(unsafe.SliceData(rec[headSize:]), len(rec)-headSize)
	sequence := int64(le.Uint64(rec[16:]))
	switch rec[12] {
	case typeIntent:
		r := &d.intent
		*r = Intent{Sequence: sequence}
		return r, d.readBill(fields, &r.Intent, nil)
	case typeReject:
		r := &d.reject
		*r = Reject{Sequence: sequence}
		return r, d.readBill(fields, &r.Intent, &r.Settle)
	case typeSettle:
		r := &d.settle
		*r = Settle{Sequence: sequence}
		err := d.readSettle(fields, r)
		return r, err
	case typeProgress:
		r := &d.progress
		*r = Progress{Sequence: sequence}
		return r, each(fields, func(f field) error {
			if f.number == fOutput {
				r.Output = f.n
				return nil
			}
			return reference(&f, &r.RequestID, &r.Attempt)
		})
	case typePrice:
		r := &PriceDoc{}
		return r, each(fields, func(f field) error {
			switch f.number {
			case fVersion:
				r.Version = f.n
			case fDocument:
				r.Document = []byte(f.text)
			}
			return nil
		})
	case typeBody:
		r := &Body{}
		return r, each(fields, func(f field) error {
			switch f.number {
			case fMessages:
				r.Messages = []byte(f.text)
			case fResponse:
				r.Response = []byte(f.text)
			case fExtra:
				r.Metadata = []byte(f.text)
			}
			return reference(&f, &r.RequestID, &r.Attempt)
		})
	case typeFinish:
		r := &Finish{}
		return r, each(fields, func(f field) error {
			r.Last = r.Last || f.number == fLast && f.n != 0
			return nil
		})
	}
	return nil, nil
}

// each gives all fields to fn.
func each(b string, fn func(field) error) error {
	for b != "" {
		f, rest, ok := next(b)
		if !ok {
			return errFields
		}
		if err := fn(f); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// reference takes the fields that say which attempt a record is about.
func reference(f *field, id *[16]byte, attempt *int64) error {
	switch f.number {
	case fRequest:
		if len(f.text) != len(id) {
			return errFields
		}
		copy(id[:], f.text)
	case fAttempt:
		*attempt = f.n
	}
	return nil
}

// readSettle reads the fields of a settlement, and which attempt it is of.
func (d *decoder) readSettle(b string, r *Settle) error {
	for b != "" {
		f, rest, ok := next(b)
		if !ok {
			return errFields
		}
		b = rest
		err := reference(&f, &r.RequestID, &r.Attempt)
		if f.number >= fSettledAt {
			err = d.settleField(&f, &r.Settle)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readBill reads the fields of an intent and a settlement; settled is nil where
// there is none.
func (d *decoder) readBill(b string, in *bill.Intent, settled *bill.Settle) error {
	d.tags, d.accounts = d.tags[:0], d.accounts[:0]
	for b != "" {
		f, rest, ok := next(b)
		if !ok {
			return errFields
		}
		b = rest
		var err error
		if f.number >= fSettledAt {
			err = d.settleField(&f, settled)
		} else {
			err = d.intentField(&f, in)
		}
		if err != nil {
			return err
		}
	}
	if len(d.tags) > 0 {
		in.Tags = shared(d.sharing, &d.sharing.tags, d.tags[0], d.tags)
	}
	if len(d.accounts) > 0 {
		in.Accounts = shared(d.sharing, &d.sharing.accounts, d.accounts[0].ID, d.accounts)
	}
	return nil
}

func (d *decoder) intentField(f *field, in *bill.Intent) error {
	switch f.number {
	case fRequest, fAttempt:
		return reference(f, &in.RequestID, &in.Attempt)
	case fAt:
		in.At = f.n
	case fStreamed:
		in.Streamed = f.n != 0
	case fTag:
		d.tags = append(d.tags, d.text(f.text))
	case fPrice:
		in.Price = f.n
	case fPrompt:
		in.Prompt = f.n
	case fReserved:
		in.Reserved = money.Nano(f.n)
	case fClaim:
		in.Claim = uint32(f.n)
	case fAccount:
		// Accounts come last: what they imply is there.
		return d.readAccount(f.text, in)
	case fCallID:
		in.CallID = strings.Clone(f.text) // of one call
	case fMetadata:
		in.Metadata = strings.Clone(f.text)
	default:
		if s := intentText(in, f.number); s != nil {
			*s = d.text(f.text)
		}
	}
	return nil
}

// intentText is the text of an intent that a field holds and others may have too,
// nil if there is none.
func intentText(in *bill.Intent, number int) *string {
	switch number {
	case fCallType:
		return &in.CallType
	case fToken:
		return &in.Token
	case fUser:
		return &in.User
	case fTeam:
		return &in.Team
	case fOrganization:
		return &in.Organization
	case fProject:
		return &in.Project
	case fEndUser:
		return &in.EndUser
	case fSession:
		return &in.Session
	case fClient:
		return &in.ClientAddress
	case fModel:
		return &in.Model
	case fModelID:
		return &in.ModelID
	case fProvider:
		return &in.Provider
	case fProviderModel:
		return &in.ProviderModel
	}
	return nil
}

func (d *decoder) readAccount(b string, in *bill.Intent) error {
	var a bill.Account
	named := false
	for b != "" {
		f, rest, ok := next(b)
		if !ok {
			return errFields
		}
		b = rest
		switch f.number {
		case fKind:
			a.Kind = bill.Kind(f.n)
		case fID:
			a.ID, named = d.text(f.text), true
		case fWindow:
			a.Window = d.text(f.text)
		case fStart:
			a.Start = f.n
		case fLeased:
			a.Leased = f.n != 0
		}
	}
	if !named {
		a.ID = implied(in, a.Kind)
	}
	d.accounts = append(d.accounts, a)
	return nil
}

// settleField takes a field of a settlement; s is nil where it has no place.
func (d *decoder) settleField(f *field, s *bill.Settle) error {
	if s == nil {
		return nil
	}
	switch f.number {
	case fSettledAt:
		s.At = f.n
	case fFirstByte:
		s.FirstByteAt = f.n
	case fStatus:
		s.Status = bill.Status(f.n)
	case fHTTPStatus:
		s.HTTPStatus = int(f.n)
	case fErrorKind:
		s.ErrorKind = d.text(f.text)
	case fProviderID:
		s.ProviderID = strings.Clone(f.text)
	case fCacheHit:
		s.CacheHit = f.n != 0
	case fCost:
		s.Cost = money.Nano(f.n)
	case fUsage:
		if !s.Usage.Read([]byte(f.text)) {
			return errFields
		}
	}
	return nil
}
