//go:build image

package imagetest

import (
	"os"
	"strings"
	"testing"
)

// TestContainerNamespaces: a run sees neither the machine's network nor its
// processes, and the engine answers in it.
func TestContainerNamespaces(t *testing.T) {
	if os.Getpid() > 100 || os.Getppid() != 1 {
		t.Errorf("process %d under %d: not in a process namespace of its own", os.Getpid(), os.Getppid())
	}
	Engine(t)
	devices, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(devices)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name != "lo" && name != "docker0" && !strings.HasPrefix(name, "veth") && !strings.HasPrefix(name, "br-") {
			t.Errorf("network device %s of the machine is in reach", name)
		}
	}
	if got := Docker(t, "info", "-f", "{{.Containers}}"); got != "0" {
		t.Errorf("a fresh engine has %s containers", got)
	}
	if out := (Command{Args: []string{"cat", "/proc/net/dev"}, Outside: true}).Run(t); out == string(devices) {
		t.Error("a command outside sees the same network devices")
	}
}
