package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	mountpoint  = "/run/sluice-vm/seed"
	maxSeedFile = 1 << 20 // bytes; a configuration is a few kilobytes
)

// rawSeed is the seed as it lies on its disk.
type rawSeed struct {
	user, meta []byte
	network    bool // there is a network-config too
}

// readDisk mounts a device read-only for as long as it takes to read the seed.
func readDisk(device string) (seed *rawSeed, err error) {
	if err := os.MkdirAll(mountpoint, 0o700); err != nil {
		return nil, err
	}
	const flags = unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	var tries []error
	for _, fs := range []string{"vfat", "iso9660"} {
		if failed := unix.Mount(device, mountpoint, fs, flags, ""); failed != nil {
			tries = append(tries, fmt.Errorf("as %s: %w", fs, failed))
			continue
		}
		defer func() { err = errors.Join(err, unix.Unmount(mountpoint, unix.MNT_DETACH)) }()
		return readSeed(mountpoint)
	}
	return nil, fmt.Errorf("%s cannot be mounted: %w", device, errors.Join(tries...))
}

// readSeed reads the files of a folder. NoCloud wants user-data; meta-data may
// be missing.
func readSeed(dir string) (*rawSeed, error) {
	user, err := readSome(filepath.Join(dir, "user-data"))
	if err != nil {
		return nil, fmt.Errorf("the disk labelled CIDATA needs a file user-data: %w", err)
	}
	meta, err := readSome(filepath.Join(dir, "meta-data"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	_, err = os.Stat(filepath.Join(dir, "network-config"))
	return &rawSeed{user: user, meta: meta, network: err == nil}, nil
}

func readSome(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSeedFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxSeedFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", filepath.Base(path), maxSeedFile)
	}
	return b, nil
}
