// Package journal is the record of attempts that a worker writes before the
// last byte of an answer goes out, in segments that survive its death.
package journal
