// Package archtest holds the tests of the module's shape: which package may
// import which, package comments, file sizes, and that the documents name what
// is there. It has no code of its own. Run it with -count=1: it asks `go list`
// and `git`, whose inputs the test cache does not see.
package archtest
