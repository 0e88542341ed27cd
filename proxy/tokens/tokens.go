// Package tokens counts tokens where a provider does not say how many there
// were. Its vocabularies are untouched until somebody asks.
package tokens
