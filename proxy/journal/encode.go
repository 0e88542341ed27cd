package journal

import (
	"encoding/binary"
	"unicode/utf8"

	"sluice/proxy/bill"
)

// Fields of records. A field is a key, the number of the field times two, plus
// one where bytes follow; then a zigzag varint, or a length and the bytes. A
// field that is zero or empty is left out. Numbers never change and are never
// used again; readers pass over those that they do not know.
const (
	fRequest       = 1 // 16 bytes
	fAttempt       = 2
	fAt            = 3
	fStreamed      = 4
	fCallType      = 5
	fToken         = 6
	fUser          = 7
	fTeam          = 8
	fOrganization  = 9
	fProject       = 10
	fEndUser       = 11
	fCallID        = 12
	fSession       = 13
	fClient        = 14
	fTag           = 15 // repeated
	fMetadata      = 16
	fModel         = 17
	fModelID       = 18
	fProvider      = 19
	fProviderModel = 20
	fPrice         = 21
	fPrompt        = 22
	fReserved      = 23
	fClaim         = 24
	fAccount       = 25 // repeated, fields of its own

	fSettledAt  = 40
	fFirstByte  = 41
	fStatus     = 42
	fHTTPStatus = 43
	fErrorKind  = 44
	fProviderID = 45
	fCacheHit   = 46
	fUsage      = 47 // as llm.Usage.Append writes it
	fCost       = 48

	fOutput   = 60
	fVersion  = 70
	fDocument = 71
	fMessages = 80
	fResponse = 81
	fExtra    = 82
	fLast     = 90

	// Of an account. Where its id is left out, it is that of the intent's own
	// field for the kind (implied).
	fKind   = 1
	fID     = 2
	fWindow = 3
	fStart  = 4
	fLeased = 5
)

func putInt(dst []byte, field int, n int64) []byte {
	if n == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(field)<<1)
	return binary.AppendVarint(dst, n)
}

func putBool(dst []byte, field int, v bool) []byte {
	if !v {
		return dst
	}
	return putInt(dst, field, 1)
}

func putText[T string | []byte](dst []byte, field int, s T) []byte {
	if len(s) == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(field)<<1|1)
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// putNested begins a field that has fields of its own, less than 2 MiB of them;
// endNested puts its length in, as a varint that is always of 3 bytes.
func putNested(dst []byte, field int) (out []byte, from int) {
	dst = binary.AppendUvarint(dst, uint64(field)<<1|1)
	dst = append(dst, 0, 0, 0)
	return dst, len(dst)
}

func endNested(dst []byte, from int) {
	n := len(dst) - from
	dst[from-3], dst[from-2], dst[from-1] = byte(n)|0x80, byte(n>>7)|0x80, byte(n>>14)&0x7f
}

// appendIntent adds the fields of an intent.
func appendIntent(dst []byte, in *bill.Intent) []byte {
	dst = putText(dst, fRequest, in.RequestID[:])
	dst = putInt(dst, fAttempt, in.Attempt)
	dst = putInt(dst, fAt, in.At)
	dst = putBool(dst, fStreamed, in.Streamed)
	dst = putText(dst, fCallType, in.CallType)
	dst = putText(dst, fToken, in.Token)
	dst = putText(dst, fUser, in.User)
	dst = putText(dst, fTeam, in.Team)
	dst = putText(dst, fOrganization, in.Organization)
	dst = putText(dst, fProject, in.Project)
	dst = putText(dst, fEndUser, in.EndUser)
	dst = putText(dst, fCallID, in.CallID)
	dst = putText(dst, fSession, in.Session)
	dst = putText(dst, fClient, in.ClientAddress)
	for _, tag := range in.Tags {
		dst = putText(dst, fTag, tag)
	}
	dst = putText(dst, fMetadata, in.Metadata)
	dst = putText(dst, fModel, in.Model)
	dst = putText(dst, fModelID, in.ModelID)
	dst = putText(dst, fProvider, in.Provider)
	dst = putText(dst, fProviderModel, in.ProviderModel)
	dst = putInt(dst, fPrice, in.Price)
	dst = putInt(dst, fPrompt, in.Prompt)
	dst = putInt(dst, fReserved, int64(in.Reserved))
	dst = putInt(dst, fClaim, int64(in.Claim))
	for i := range in.Accounts {
		dst = appendAccount(dst, in, &in.Accounts[i])
	}
	return dst
}

func appendAccount(dst []byte, in *bill.Intent, a *bill.Account) []byte {
	dst, from := putNested(dst, fAccount)
	dst = putInt(dst, fKind, int64(a.Kind))
	if a.ID != implied(in, a.Kind) {
		// Written even where it is empty.
		dst = binary.AppendUvarint(dst, fID<<1|1)
		dst = binary.AppendUvarint(dst, uint64(len(a.ID)))
		dst = append(dst, a.ID...)
	}
	dst = putText(dst, fWindow, a.Window)
	dst = putInt(dst, fStart, a.Start)
	dst = putBool(dst, fLeased, a.Leased)
	endNested(dst, from)
	return dst
}

// implied is the id that an account of that kind usually has.
func implied(in *bill.Intent, kind bill.Kind) string {
	switch kind {
	case bill.KindKey:
		return in.Token
	case bill.KindUser:
		return in.User
	case bill.KindTeam:
		return in.Team
	case bill.KindOrganization:
		return in.Organization
	case bill.KindProject:
		return in.Project
	case bill.KindCustomer:
		return in.EndUser
	case bill.KindProvider:
		return in.Provider
	case bill.KindDeployment:
		return in.ModelID
	default:
		return ""
	}
}

// appendSettle adds the fields of a settlement.
func appendSettle(dst []byte, s *bill.Settle) []byte {
	dst = putInt(dst, fSettledAt, s.At)
	dst = putInt(dst, fFirstByte, s.FirstByteAt)
	dst = putInt(dst, fStatus, int64(s.Status))
	dst = putInt(dst, fHTTPStatus, int64(s.HTTPStatus))
	dst = putText(dst, fErrorKind, s.ErrorKind)
	dst = putText(dst, fProviderID, s.ProviderID)
	dst = putBool(dst, fCacheHit, s.CacheHit)
	dst = putInt(dst, fCost, int64(s.Cost))
	dst, from := putNested(dst, fUsage)
	dst = s.Usage.Append(dst)
	endNested(dst, from)
	return dst
}

// cutIntent shortens an intent whose record would be longer than moneyMax, in
// this order: metadata goes, then the tags, the last first, then every text but
// the key's digest is cut to 256, 128, 64 and 32 bytes, a mark at its end.
// Accounts are money and stay whole; only where they alone are longer than
// recordMax do the last ones go. extra is what else the record holds, in bytes.
func cutIntent(scratch []byte, in bill.Intent, extra int) (bill.Intent, []byte) {
	const most = moneyMax - headSize
	fits := func() bool {
		scratch = appendIntent(scratch[:0], &in)
		return len(scratch)+extra <= most
	}
	if in.Metadata = ""; fits() {
		return in, scratch
	}
	for len(in.Tags) > 0 {
		if in.Tags = in.Tags[:len(in.Tags)-1]; fits() {
			return in, scratch
		}
	}
	for _, n := range []int{256, 128, 64, 32} {
		for _, s := range []*string{
			&in.CallType, &in.User, &in.Team, &in.Organization, &in.Project, &in.EndUser, &in.CallID, &in.Session,
			&in.ClientAddress, &in.Model, &in.ModelID, &in.Provider, &in.ProviderModel,
		} {
			*s = cutText(*s, n)
		}
		if len(in.Token) > 128 {
			in.Token = cutText(in.Token, 128)
		}
		if fits() {
			return in, scratch
		}
	}
	for len(in.Accounts) > 0 && headSize+len(scratch)+extra > recordMax {
		in.Accounts = in.Accounts[:len(in.Accounts)-1]
		fits()
	}
	return in, scratch
}

// cutMark ends what was cut.
const cutMark = "…"

// cutText cuts s to at most n bytes, between characters.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := n - len(cutMark)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + cutMark
}

// cutSettle shortens the texts of a settlement, which are short.
func cutSettle(s bill.Settle) bill.Settle {
	s.ErrorKind, s.ProviderID = cutText(s.ErrorKind, 128), cutText(s.ProviderID, 128)
	return s
}
