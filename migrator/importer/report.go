package importer

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"sluice/proxy/store"
)

// Bounds of a report: it is written with every batch and read by people.
const (
	mostProblems = 60 // different ones of a table
	mostExamples = 5  // ids of each
	longestID    = 120
)

// Report is what came over, what not and why. Counts go on over the runs of an
// import that was stopped; the next import after it begins with a new report.
type Report struct {
	System  string         `json:"system"`
	Source  string         `json:"source"`  // database and schema, without the password
	DryRun  bool           `json:"dry_run"` // nothing was written
	Run     int64          `json:"run"`     // of this database, from 1
	Goes    int            `json:"goes"`    // how often it was started until it was done
	Started time.Time      `json:"started"`
	Ended   time.Time      `json:"ended"`
	Tables  []*TableReport `json:"tables"`
	Sealed  Sealed         `json:"sealed"`

	AbsentTables  []string `json:"absent_tables"`  // optional ones that this release of LiteLLM does not have
	AbsentColumns []string `json:"absent_columns"` // "table.column" of tables that are there
	UnknownTables []string `json:"unknown_tables"` // of a later release of LiteLLM than is known here
}

// Sealed counts the encrypted values of the source.
type Sealed struct {
	Opened int `json:"opened"`
	Plain  int `json:"plain"`  // not encrypted
	Failed int `json:"failed"` // open under no key; left out
}

// TableReport is one table of the source. Counts of objects may be above the
// number of rows: a team brings its members.
type TableReport struct {
	Table    string `json:"table"`
	Left     string `json:"left,omitempty"` // why the table is not taken
	Opaque   bool   `json:"opaque,omitempty"`
	About    int64  `json:"about"` // rows at the start, estimated for large tables
	Rows     int64  `json:"rows"`  // that were read
	New      int64  `json:"new"`
	Replaced int64  `json:"replaced"`
	Same     int64  `json:"same"`
	Kept     int64  `json:"kept"`         // changed or made here: stayed as they are
	Deleted  int64  `json:"deleted_here"` // stay deleted
	Refused  int64  `json:"refused"`      // cannot be here, the problems say why
	Other    int64  `json:"other"`        // documents, daily sums, running windows, log rows
	Skipped  int64  `json:"skipped"`      // rows that brought nothing

	KeptIDs    []string `json:"kept_ids,omitempty"` // examples
	DeletedIDs []string `json:"deleted_ids,omitempty"`

	Problems []*Problem `json:"problems,omitempty"`
	Others   int        `json:"other_problems,omitempty"` // beyond mostProblems different ones
}

// Problem is one thing that was found in rows of a table.
type Problem struct {
	Problem string   `json:"problem"`
	Count   int      `json:"count"`
	IDs     []string `json:"ids"` // examples
}

// table finds or adds the report of a table.
func (r *Report) table(name string) *TableReport {
	for _, t := range r.Tables {
		if t.Table == name {
			return t
		}
	}
	t := &TableReport{Table: name}
	r.Tables = append(r.Tables, t)
	return t
}

// note counts a problem of a row.
func (t *TableReport) note(id, text string) {
	for _, p := range t.Problems {
		if p.Problem == text {
			p.Count++
			p.IDs = example(p.IDs, id)
			return
		}
	}
	if len(t.Problems) >= mostProblems {
		t.Others++
		return
	}
	t.Problems = append(t.Problems, &Problem{Problem: text, Count: 1, IDs: example(nil, id)})
}

// example adds an id to a short list of them, cut to a bearable length.
func example(ids []string, more ...string) []string {
	for _, id := range more {
		if len(ids) >= mostExamples || id == "" || slices.Contains(ids, id) {
			continue
		}
		if len(id) > longestID {
			cut := longestID
			for !utf8.RuneStart(id[cut]) {
				cut--
			}
			id = id[:cut] + "…"
		}
		ids = append(ids, id)
	}
	return ids
}

// add counts what became of the objects of a batch.
func (t *TableReport) add(taken store.Taken) {
	t.New += int64(taken.Inserted)
	t.Replaced += int64(taken.Replaced)
	t.Same += int64(taken.Same)
	t.Kept += int64(taken.Kept)
	t.Deleted += int64(taken.Deleted)
	t.Refused += int64(len(taken.Refused))
	t.KeptIDs = example(t.KeptIDs, taken.KeptIDs...)
	t.DeletedIDs = example(t.DeletedIDs, taken.DeletedIDs...)
	for _, r := range taken.Refused {
		t.note(r.ID, "not taken: "+r.Problem)
	}
}

// Total sums up the tables.
func (r *Report) Total() (sum TableReport) {
	for _, t := range r.Tables {
		sum.Rows += t.Rows
		sum.New += t.New
		sum.Replaced += t.Replaced
		sum.Same += t.Same
		sum.Kept += t.Kept
		sum.Deleted += t.Deleted
		sum.Refused += t.Refused
		sum.Other += t.Other
		sum.Skipped += t.Skipped
	}
	return sum
}

// WriteText prints a report for people.
func (r *Report) WriteText(out io.Writer) error {
	w := &lines{to: out}
	w.printf("Import from LiteLLM: %s\n", r.Source)
	w.printf("%s, %.1f s", r.Started.UTC().Format(time.RFC3339), r.Ended.Sub(r.Started).Seconds())
	if r.Goes > 1 {
		w.printf(", in %d goes", r.Goes)
	}
	if r.DryRun {
		w.printf("; a dry run: NOTHING WAS WRITTEN")
	}
	w.printf("\n\n")
	r.writeTable(w)
	r.writeProblems(w)
	r.writeRest(w)
	return w.err
}

func (r *Report) writeTable(w *lines) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(name string, c *TableReport) {
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t  %s\n", c.Rows, c.New, c.Replaced, c.Same, c.Kept, c.Deleted, c.Refused, c.Other, c.Skipped, name)
	}
	fmt.Fprintln(t, "ROWS\tNEW\tREPLACED\tSAME\tKEPT\tDELETED HERE\tREFUSED\tOTHER\tSKIPPED\t  TABLE")
	for _, c := range r.Tables {
		if c.Left == "" && c.Rows > 0 {
			line(c.Table, c)
		}
	}
	sum := r.Total()
	line("all", &sum)
	_ = t.Flush() // w remembers the error
	w.printf("\nRows of the source and what they became here: objects that are new, replaced or the same as before;\n" +
		"kept because they were changed or made here; left out because they were deleted here, or because\n" +
		"they cannot be here; other: documents kept to the letter, daily sums, windows, log rows. Skipped\n" +
		"rows brought nothing.\n")
}

func (r *Report) writeProblems(w *lines) {
	first := true
	for _, t := range r.Tables {
		found := slices.Clone(t.Problems)
		slices.SortStableFunc(found, func(a, b *Problem) int { return cmp.Compare(b.Count, a.Count) })
		for _, p := range []Problem{
			{Problem: "kept as they are here", Count: int(t.Kept), IDs: t.KeptIDs},
			{Problem: "deleted here, stay deleted", Count: int(t.Deleted), IDs: t.DeletedIDs},
			{Problem: "further problems, not listed one by one", Count: t.Others},
		} {
			if p.Count > 0 {
				found = append(found, &p)
			}
		}
		if len(found) == 0 {
			continue
		}
		if first {
			w.printf("\nWhat to look at:\n")
			first = false
		}
		w.printf("  %s\n", t.Table)
		for _, p := range found {
			w.printf("    %d x %s", p.Count, p.Problem)
			if len(p.IDs) > 0 {
				w.printf(": %s", strings.Join(p.IDs, ", "))
				if p.Count > len(p.IDs) {
					w.printf(", …")
				}
			}
			w.printf("\n")
		}
	}
}

func (r *Report) writeRest(w *lines) {
	w.printf("\nEncrypted values: %d opened with the old salt key and sealed anew, %d were not encrypted", r.Sealed.Opened, r.Sealed.Plain)
	if r.Sealed.Failed > 0 {
		w.printf(", %d open under no key that was given and were left out", r.Sealed.Failed)
	}
	w.printf("\n")
	first := true
	for _, t := range r.Tables {
		if t.Left != "" && t.About != 0 {
			if first {
				w.printf("\nNot taken:\n")
				first = false
			}
			w.printf("  %s (%d rows): %s\n", t.Table, t.About, t.Left)
		}
	}
	for _, l := range []struct {
		title string
		names []string
	}{
		{"Optional tables that this source does not have", r.AbsentTables},
		{"Optional columns that this source does not have", r.AbsentColumns},
		{"Tables of a later LiteLLM that are not known here and were not taken", r.UnknownTables},
	} {
		if len(l.names) > 0 {
			w.printf("\n%s:\n  %s\n", l.title, strings.Join(l.names, ", "))
		}
	}
}

// lines writes until the first error and remembers it.
type lines struct {
	to  io.Writer
	err error
}

// Write is part of io.Writer.
func (w *lines) Write(b []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.to.Write(b)
	w.err = err
	return n, err
}

func (w *lines) printf(format string, args ...any) { fmt.Fprintf(w, format, args...) }
