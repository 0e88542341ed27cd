//go:build !race

package sock

// order tells the race detector that bytes of a socket carry an order; without
// the detector there is nothing to tell.
func order() {}
