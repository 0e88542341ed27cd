// Command firstboot makes a machine of the VM image its own: it generates the
// secrets that the gateway starts with and the host key of ssh, and applies a
// NoCloud seed where one is attached. A oneshot unit runs it at each boot before
// the network and the gateway; what was done is not done again.
//
// The seed is a disk (FAT or ISO 9660) labelled CIDATA with the files meta-data
// and user-data, as cloud-init has them, of which it reads the small part that
// docs/deploy-vm.md lists. A seed that asks for more is refused whole: a machine
// that did half of what it was told is worse than one that says why it does not
// start.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice/internal/boot"
)

func main() { boot.Main("firstboot", run) }

type cli struct {
	Root string `default:"/" help:"Folder that stands for the machine's root."`
	Seed string `help:"Folder with user-data and meta-data, in place of a disk."`
	None bool   `name:"no-seed" help:"Look for no seed: cloud-init does."`
}

// run does everything once: secrets, host key, seed.
func run(p *boot.Process) error {
	var c cli
	if _, done, err := p.Parse(&c, "Prepare a machine of the VM image: secrets, host key, NoCloud seed."); err != nil || done {
		return err
	}
	m, err := open(c.Root)
	if err != nil {
		return err
	}
	defer m.close()
	var raw *rawSeed
	if !c.None {
		if raw, err = findSeed(c.Seed); err != nil {
			return fmt.Errorf("seed: %w", err)
		}
	}
	applied, err := m.apply(raw)
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	for _, line := range applied {
		fmt.Fprintln(p.Stderr, line)
	}
	made, err := m.secrets()
	if err != nil {
		return err
	}
	print, err := m.hostKey()
	if err != nil {
		return err
	}
	if made != "" {
		fmt.Fprintf(p.Stderr, "Sluice: first boot. The master key is in %s; read it with: ssh root@ADDRESS cat %s\n", made, made)
	}
	if print != "" {
		fmt.Fprintf(p.Stderr, "Sluice: the ssh host key is %s\n", print)
	}
	return nil
}

// findSeed returns the files of the folder, of a disk labelled CIDATA, or nil
// where there is neither.
func findSeed(dir string) (*rawSeed, error) {
	if dir != "" {
		return readSeed(dir)
	}
	for _, label := range []string{"CIDATA", "cidata"} {
		device, err := filepath.EvalSymlinks("/dev/disk/by-label/" + label)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find the disk %s: %w", label, err)
		}
		return readDisk(device)
	}
	return nil, nil
}

// sentence makes one line of several complaints.
func sentence(complaints []string) error {
	if len(complaints) == 0 {
		return nil
	}
	return errors.New(strings.Join(complaints, "; "))
}
