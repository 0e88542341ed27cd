//go:build !sluicebad

package importer

func cursorFirst() bool { return false }
