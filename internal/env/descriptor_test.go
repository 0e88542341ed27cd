package env

import (
	"os"
	"os/exec"
	"testing"
)

// TestSealedDescriptor runs this test anew as a child with an environment on
// its descriptor 3.
func TestSealedDescriptor(t *testing.T) {
	if os.Getenv(descriptorName) != "" {
		e := Process()
		if e.Err() != nil || e.Get("SEALED") != "yes" || e.Get("BOTH") != "sealed" || e.Get("OUTER") != "1" {
			t.Errorf("Process: %q %q %q, %v", e.Get("SEALED"), e.Get("BOTH"), e.Get("OUTER"), e.Err())
		}
		if again := Process(); again.Get("SEALED") != "yes" {
			t.Error("a second call does not have the sealed variables")
		}
		if _, ok := e.Lookup(descriptorName); ok {
			t.Error("the descriptor's name is kept")
		}
		return
	}
	file, err := os.CreateTemp(t.TempDir(), "environ")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.WriteString("SEALED=yes\x00BOTH=sealed\x00"); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestSealedDescriptor$")
	child.Env = append(os.Environ(), descriptorName+"=3", "BOTH=outer", "OUTER=1")
	child.ExtraFiles = []*os.File{file}
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("child: %v\n%s", err, out)
	}
}
