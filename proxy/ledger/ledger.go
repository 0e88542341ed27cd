// Package ledger reads the journals of a host and writes them into the
// database, every attempt once.
package ledger
