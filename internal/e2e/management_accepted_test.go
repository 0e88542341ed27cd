//go:build e2e

package e2e

// acceptedManagement is the one table of differences from the recorded story
// that are meant, at most 40 rows. cases and diff are read as in accepted.
var acceptedManagement = []struct{ cases, diff, why string }{
	{"key/generate unknown team|key/generate unknown user", "*", "an owner that does not exist is 404 for every role"},
	{"key/generate duplicate value", "*", "a key that exists is not made twice: 409"},
	{"key/generate *|customer/new duplicate", "field error.param is string, recorded null", "the field that is wrong is named"},
	{"key/generate bad duration", "status 400, recorded 500", "the client's mistake, said as such"},
	{"key/generate as k_int", "field expires is string, recorded null", "a key that is made with a key outlives it not"},
	{"chat in blocked team", "*", "a blocked team's keys stop at once"},
	{"chat of blocked customer", "*", "a blocked customer is refused"},
	{"customer/new duplicate", "status 409, recorded 500", "a duplicate is a conflict, and no SQL is shown"},
	{"team/member_update unknown", "*", "limits are kept for members: who is not in the team is 404"},
	{"model/new without params", "*", "the field that lacks is named, 400"},
}
