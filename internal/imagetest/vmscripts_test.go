//go:build image

package imagetest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVMKernelUpdate runs the hook that copies a new kernel to the EFI system
// partition: the two firmwares are always told of a kernel beside its own RAM
// disk, also when a copy fails half-way.
func TestVMKernelUpdate(t *testing.T) {
	esp, boot := t.TempDir(), t.TempDir()
	hook := Command{
		Args: []string{filepath.Join(Root(t), "image/vm/tree/usr/lib/sluice-vm/update-esp")},
		Env:  []string{"SLUICE_ESP=" + esp, "SLUICE_BOOT=" + boot},
	}
	kernel := func(version string) {
		for _, kind := range []string{"vmlinuz-", "initrd.img-"} {
			if err := os.WriteFile(filepath.Join(boot, kind+version), []byte(kind+version), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	// starts returns what each firmware would start.
	starts := func() (bios, uefi string) {
		read := func(name string) string {
			b, err := os.ReadFile(filepath.Join(esp, name))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		_, label, _ := strings.Cut(read("syslinux/syslinux.cfg"), "DEFAULT ")
		label, _, _ = strings.Cut(label, "\n")
		_, entry, _ := strings.Cut(read("loader/loader.conf"), "default ")
		entry = strings.TrimSuffix(strings.TrimSpace(entry), ".conf")
		if !strings.Contains(read("syslinux/syslinux.cfg"), "LABEL "+label+"\n LINUX /"+label+"/vmlinuz\n INITRD /"+label+"/initrd.img\n") ||
			!strings.Contains(read("loader/entries/"+entry+".conf"), "linux /"+entry+"/vmlinuz\ninitrd /"+entry+"/initrd.img\n") {
			t.Fatalf("the configurations of %s and %s name other files", label, entry)
		}
		return read(label+"/vmlinuz") + " " + read(label+"/initrd.img"), read(entry+"/vmlinuz") + " " + read(entry+"/initrd.img")
	}
	expect := func(version string) {
		t.Helper()
		want := "vmlinuz-" + version + " initrd.img-" + version
		if bios, uefi := starts(); bios != want || uefi != want {
			t.Errorf("BIOS starts %q, UEFI %q, not %q", bios, uefi, want)
		}
	}
	kernel("6.12.9-cloud-amd64")
	hook.Run(t)
	expect("6.12.9-cloud-amd64")
	kernel("6.12.10-cloud-amd64") // newer, though it sorts before as text
	hook.Run(t)
	expect("6.12.10-cloud-amd64")
	if said := hook.Try(t); said.Code != 0 || said.Output() != "" {
		t.Errorf("nothing to do: exit %d, %s", said.Code, said.Output())
	}

	// The next RAM disk cannot be read: the hook fails, what was told stays.
	kernel("6.12.11-cloud-amd64")
	if err := os.Remove(filepath.Join(boot, "initrd.img-6.12.11-cloud-amd64")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(boot, "initrd.img-6.12.11-cloud-amd64"), 0o700); err != nil {
		t.Fatal(err)
	}
	if r := hook.Try(t); r.Code == 0 {
		t.Error("a RAM disk that cannot be read is no error")
	}
	expect("6.12.10-cloud-amd64")
	if err := os.Remove(filepath.Join(boot, "initrd.img-6.12.11-cloud-amd64")); err != nil {
		t.Fatal(err)
	}
	hook.Run(t) // its RAM disk is still to be made: nothing to do yet
	expect("6.12.10-cloud-amd64")
	kernel("6.12.11-cloud-amd64")
	hook.Run(t)
	expect("6.12.11-cloud-amd64")
	menu, err := os.ReadFile(filepath.Join(esp, "syslinux/syslinux.cfg"))
	if err != nil || strings.Count(string(menu), "LABEL ") != 2 {
		t.Errorf("the kernel before is not in the menu: %s %v", menu, err)
	}
}

// TestVMRunRefuses: what keeps the machine from starting is one line that says
// what to do, and nothing is left running.
func TestVMRunRefuses(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "sluice.qcow2")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"no image":   {[]string{"VM_IMAGE=" + image + ".not"}, "make vm builds it"},
		"port taken": {[]string{"VM_IMAGE=" + image, "VM_PORT=" + port}, "set VM_PORT to another"},
		"no seed":    {[]string{"VM_IMAGE=" + Dist(t, "sluice.qcow2"), "VM_SEED=" + t.TempDir()}, "no user-data in"},
		"no key":     {[]string{"VM_IMAGE=" + Dist(t, "sluice.qcow2"), "VM_SSH_KEY=" + image + ".pub"}, "is not there"},
	} {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			r := Command{Args: []string{filepath.Join(Root(t), "image/vm/run")}, Env: append(c.env, "TMPDIR="+temp)}.Try(t)
			lines := strings.Split(strings.TrimSuffix(r.Output(), "\nvm-run: off"), "\n")
			if r.Code == 0 || len(lines) != 1 || !strings.Contains(lines[0], c.want) {
				t.Errorf("exit %d: %s", r.Code, r.Output())
			}
			if left, _ := os.ReadDir(temp); len(left) != 0 {
				t.Errorf("left in the temporary folder: %v", left)
			}
		})
	}
}
