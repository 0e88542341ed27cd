// Package window is the windows of time that budgets are counted in: when one
// that a moment lies in began, and when it ends.
package window
