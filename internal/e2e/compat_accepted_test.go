//go:build e2e

package e2e

// accepted is the one table of differences from the recording that are meant.
// cases are names of cases, * for anything, | between several; diff is a line
// that replay prints, * for anything. A row that nothing needs fails the test.
var accepted = []struct{ cases, diff, why string }{
	{"*", "without x-litellm-response-cost*", "prices come with the money work"},
	{"*", "without x-litellm-key-spend", "spend comes with the money work"},
	{"*", "without x-litellm-callback-duration-ms", "no callbacks are run"},
	{"bad key|key without sk-", "status 401, recorded 400", "a wrong key is 401 with and without a database"},
	{"bad key|key without sk-", "error.*", "a wrong key is 401 with and without a database"},
	{"not an object", "status 400, recorded 500", "the client's mistake, said as such"},
	{"not an object", "error*", "the whole error object, as for any other wrong body"},
}
