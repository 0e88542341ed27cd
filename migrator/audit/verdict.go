package audit

import (
	"fmt"
	"strings"

	"sluice/proxy/chain"
)

// Finding is one thing that was done to the record. Kind is changed, deleted,
// inserted, reordered or truncated.
type Finding struct {
	Kind   string `json:"kind"`
	First  int64  `json:"first"` // numbers of the rows
	Last   int64  `json:"last"`
	Detail string `json:"detail"`
}

// String is the finding for people.
func (f Finding) String() string {
	return chain.Problem{Kind: chain.Kind(f.Kind), First: f.First, Last: f.Last, Detail: f.Detail}.String()
}

// Verdict is what a verification came to.
type Verdict struct {
	Whole       bool             `json:"whole"`    // nothing was found, and every row that has a code was checked
	Verified    int64            `json:"verified"` // rows that were checked
	First       int64            `json:"first"`    // numbers of the first and the last row that were read
	Last        int64            `json:"last"`
	MAC         string           `json:"mac"`           // code of the last row that has one, hex
	Keys        map[string]int64 `json:"keys"`          // rows that were read, by the id of their key
	UnknownKeys map[string]int64 `json:"unknown_keys"`  // rows that cannot be verified, by the id of their key
	Unchained   int64            `json:"unchained"`     // rows at the end without a code
	Archived    int64            `json:"archived"`      // rows in files that were not read
	Files       []string         `json:"files"`         // those files, by the names that they were archived under
	Left        int64            `json:"left"`          // archived rows that are still in the database
	Heads       int              `json:"heads"`         // that were kept elsewhere and compared
	HeadsApart  int              `json:"heads_apart"`   // about rows in files that were not read
	NewestHead  int64            `json:"newest_head"`   // number of the newest one
	Findings    []Finding        `json:"findings"`      // at most 100
	Found       int64            `json:"found"`         // all of them
	Seconds     float64          `json:"seconds"`       // that it took
	FilesRead   int              `json:"archives_read"` // archives that were verified

	database bool // the record of a database is among what was verified
}

// Unverified is how many rows could not be verified for want of a key.
func (v *Verdict) Unverified() (rows int64) {
	for _, n := range v.UnknownKeys {
		rows += n
	}
	return rows
}

// add takes over a report of the verifier.
func (v *Verdict) add(r *chain.Report) {
	for _, p := range r.Problems {
		v.find(Finding{string(p.Kind), p.First, p.Last, p.Detail})
	}
	v.Found += r.More
	for id, n := range r.Unverified {
		v.UnknownKeys[id] += n
	}
	v.Verified += r.Rows
	v.Unchained += r.Unchained
	v.Archived += r.Archived
	v.Last = r.Last
	if r.MAC != nil {
		v.MAC = fmt.Sprintf("%x", r.MAC)
	}
}

func (v *Verdict) find(f Finding) {
	v.Found++
	if len(v.Findings) < chain.MostProblems {
		v.Findings = append(v.Findings, f)
	}
}

// String is the verdict for people: one thing a line, findings first.
func (v *Verdict) String() string {
	var b strings.Builder
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	for _, f := range v.Findings {
		say("FOUND      %s", f)
	}
	if more := v.Found - int64(len(v.Findings)); more > 0 {
		say("FOUND      and %d more", more)
	}
	if v.Verified > 0 {
		say("verified   %s of %d to %d, in %.1f s", count(v.Verified), v.First, v.Last, v.Seconds)
		say("keys       %s", Keys(v.Keys))
	} else {
		say("verified   no rows")
	}
	if n := v.Unverified(); n > 0 {
		say("unknown    %s: the key is neither in the ring nor kept in the database", Keys(v.UnknownKeys))
	}
	if v.Unchained > 0 {
		say("no code    %s at the end: written by an older release and not chained yet", count(v.Unchained))
	}
	if v.FilesRead > 0 {
		say("archives   %d read", v.FilesRead)
	}
	if v.Archived > 0 {
		say("archived   %s not read: give --file %s", count(v.Archived), strings.Join(v.Files, ", --file "))
	}
	if v.Left > 0 {
		say("left       %s of archived stretches are still in the database: run migrator audit archive again", count(v.Left))
	}
	if v.Heads > 0 {
		say("heads      %d compared, the newest of row %d", v.Heads, v.NewestHead)
	} else if v.database {
		say("heads      none were given: rows that are missing at the end cannot be told")
	}
	if v.HeadsApart > 0 {
		say("heads      %d more are about archived rows that were not read", v.HeadsApart)
	}
	switch {
	case v.Found > 0:
		say("verdict    TAMPERED WITH: %d findings", v.Found)
	case len(v.UnknownKeys) > 0:
		say("verdict    not known: not every row could be verified")
	default:
		say("verdict    whole")
	}
	return b.String()
}
