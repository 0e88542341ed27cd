// Package budget keeps what is spent within budgets: an attempt reserves what it
// may cost from what the host has leased of a budget, and gives back what it did
// not.
package budget
