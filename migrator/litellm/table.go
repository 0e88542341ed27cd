// Package litellm knows what the rows of a LiteLLM database mean, and turns them
// into objects of ours. It is pure: rows come in as JSON documents, as
// PostgreSQL's row_to_json writes them, and objects go out to a Sink. Who reads
// and writes databases is package importer.
package litellm

import (
	"fmt"
	"time"

	"sluice/proxy/identity"
	"sluice/proxy/seal"
	"sluice/proxy/store"
)

// Columns says which columns there are in the source: table, then column.
type Columns map[string]map[string]bool

// Has reports whether a table has all of these columns. Without any it reports
// whether the table is there.
func (c Columns) Has(table string, columns ...string) bool {
	have, ok := c[table]
	for _, name := range columns {
		ok = ok && have[name]
	}
	return ok
}

// Table is one way to read a table of the source. Most tables are read once;
// some are read again for what only a question over all of their rows tells.
type Table struct {
	// Name is unique among Tables: cursors and reports go by it.
	Name string
	// Source is the table that is read, "" for Name. Where the source does not
	// have it, there is nothing to take.
	Source string
	// Key are the fields of a document that its rows are told apart by, in the
	// order of the keyset: texts, the primary key of a table.
	Key []string
	// Needs are the columns of Source without which nothing can be taken from it.
	Needs []string
	// Sealed tables hold texts that LiteLLM has encrypted: each is tried before
	// anything is written.
	Sealed bool
	// Opaque rows are kept as they are: nothing here understands them yet.
	Opaque bool
	// Since is a column of times for a table that is taken only where somebody
	// asks for it, from a time on. Its rows without that are not read.
	Since string
	// Left is why a table is not taken, a sentence without its full stop. Such a
	// table has neither From nor Convert.
	Left string

	// From is the SELECT list and the FROM of a query whose rows are called t and
	// whose only column is a JSON document as text. The reader adds WHERE, ORDER BY
	// and LIMIT over the columns of Key, which t has under the names that the document
	// has them under.
	From func(have Columns) string
	// Convert reads one document and puts out what it means. A row that cannot be
	// taken is no error: the sink is told. An error is a *SealedError, or one of the
	// sink; both end the import.
	Convert func(c *Converter, doc []byte) error
}

// Reads is the table of the source that is read.
func (t *Table) Reads() string {
	if t.Source != "" {
		return t.Source
	}
	return t.Name
}

// Sink takes what rows mean. One row may put out several objects, of several
// kinds, and several thousands of them (the members of a team): an object that
// others refer to comes before them. An object comes out once, but for an owner
// that keys name and that does not exist: after some thousand others it may come
// again.
type Sink interface {
	// Object takes an object. Its stamp has the times and names of the source;
	// CreatedAt and UpdatedAt are zero where the source does not tell.
	Object(o identity.Object) error
	// Document takes a row that is kept as it is. doc is a JSON object.
	Document(table, id string, doc []byte) error
	// Daily, Window and SpendLog take what is no object.
	Daily(s store.DailySpend) error
	Window(w store.BudgetWindow) error
	SpendLog(l store.SpendLog) error
	// Skip is told of a row that is not taken, and Report of something about a
	// row that is taken. id is the row's key, its parts separated by slashes, and
	// never a secret; reasons and problems are of a small number of sentences,
	// without full stop, that hold nothing of the row but names of columns and
	// variables.
	Skip(table, id, reason string)
	Report(table, id, problem string)
}

// Converter converts rows. It is not for concurrent use.
type Converter struct {
	Sink Sink
	// Open opens what LiteLLM has encrypted. sealed is false for a text that has
	// none of its forms; with sealed and an error it looks encrypted and does not
	// open. Its oldest form has no mark: a long text in base64 looks like it.
	Open func(text string) (plain string, sealed bool, err error)
	// Ring seals what is stored here.
	Ring *seal.Ring
	// Now is when the import runs, for what has an end.
	Now time.Time
	// Columns are those of the source.
	Columns Columns

	// Opened, Plain and Broken count the texts in places where LiteLLM encrypts:
	// opened, not encrypted, and encrypted with another key.
	Opened, Plain, Broken int

	made lately // owners that did not exist
}

// SealedError is the error about a text that looks encrypted and opens with none
// of the keys that were given. It tells nothing of the text.
type SealedError struct {
	Table, ID, Field string
	Err              error
}

func (e *SealedError) Error() string {
	return fmt.Sprintf("%s, row %s, %s: %v", e.Table, e.ID, e.Field, e.Err)
}

func (e *SealedError) Unwrap() error { return e.Err }
