// Package e2e boots the real programs of the appliance for tests: it builds
// them once per run, starts a supervisor in a state directory of its own, and
// gives typed handles to what runs. The tests themselves are behind the build
// tag e2e; `make e2e` runs them. Whatever a handle starts is stopped when its
// test ends, and a process that is left over fails that test.
package e2e
