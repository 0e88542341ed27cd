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
	{"*", "with x-litellm-call-id", "every answer carries it, so that every line of a log can be found"},
	{"*", "with x-litellm-version", "every answer carries it"},
	{"chat *|* header|messages empty", "with x-litellm-overhead-duration-ms", "said of mocks too"},
	{"messages string", "error.param \"messages\", recorded null", "the field that is wrong is named"},
	{"messages string", "without x-litellm-timeout", "refused before anything could time out"},
	{"text/plain body", "*", "a body that says it is not JSON is refused and told so, not guessed at"},
	{"form body", "error.param \"request_body\", recorded \"messages\"", "a form is refused as such, not for the fields it lacks"},
	{"upstream*broken-429", "error.code \"rate_limit_exceeded\", recorded \"429\"", "the provider's own code is kept"},
	{"GET /config/yaml", "*", "the configuration in force, as YAML without secrets, instead of a complaint that a GET has no body"},
	{"GET without key /metrics", "body is object, recorded string", "the error object of every other refusal"},
	{"GET /metrics", "status 200, recorded 307", "answered at once instead of by a redirect to /metrics/"},
	{"GET /metrics", "content type*", "answered at once instead of by a redirect to /metrics/"},
	{"GET /metrics", "without location", "answered at once instead of by a redirect to /metrics/"},
	{withDatabase, "status 200, recorded *", "there is always a database: without DATABASE_URL, a file in the state directory"},
	{withDatabase, "no error object", "there is always a database"},
	{withDatabase, "body is array, recorded object", "there is always a database"},
	{withDatabase, "field detail is null, recorded object", "there is always a database"},
	{"POST /key/update *|POST /key/delete *", "status 404, recorded 500", "there is always a database, and the key is not in it"},
	{"POST /key/update *|POST /key/delete *", "error.*", "there is always a database, and the key is not in it"},
}

// withDatabase are cases that were recorded without a database, and were
// refused for it.
const withDatabase = "GET /user/info|GET /team/list|GET /budget/list|GET /organization/list|GET /global/spend" +
	"|POST /key/generate *|POST /user/new *|POST /team/new *|POST /budget/new *"
