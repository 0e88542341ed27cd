//go:build e2e

package e2e

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// With nothing configured the appliance answers a chat completion, shows what
// runs, and stops with nothing left over.
func TestNothingConfigured(t *testing.T) {
	a := boot(t, Options{})
	r, err := a.Chat(`{"model":"demo","messages":[{"role":"user","content":"Hello"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Model   string
		Choices []struct{ Message struct{ Content string } }
	}
	if err := r.JSON(&answer); err != nil {
		t.Fatal(err)
	}
	if r.Status != http.StatusOK || answer.Model != "demo" || len(answer.Choices) != 1 || answer.Choices[0].Message.Content == "" {
		t.Errorf("chat: %d %s", r.Status, r.Body)
	}
	// Ready is said with the first slot; the second follows.
	s := a.WaitStatus(10*time.Second, "both slots ready", func(s fleet.Status) bool {
		return !slices.ContainsFunc(s.Slots, func(slot fleet.SlotStatus) bool { return slot.State != "ready" })
	})
	if len(s.Slots) != 2 || s.PID != a.PID() || s.State != "ready" {
		t.Errorf("status: %+v", s)
	}
	for _, slot := range s.Slots {
		if len(slot.Generations) != 1 || slot.State != "ready" {
			t.Errorf("slot %d: %+v", slot.Slot, slot)
		}
	}
	programs := map[string]int{}
	for _, p := range a.Processes() {
		programs[p.Program]++
	}
	if programs["supervisor"] != 1 || programs["proxy"] != 2 || programs["healthd"] != 1 || len(programs) != 3 {
		t.Errorf("processes: %v", programs)
	}
	t.Logf("idle: RSS %.1f MB, PSS %.1f MB", float64(a.RSS())/1e6, float64(a.PSS())/1e6)
	if code := a.Stop(); code != fleet.ExitOK {
		t.Errorf("stopped with %d", code)
	}
	a.NoneLeft(0)
}

// Without a master key one is generated, stored for the owner alone where the
// log says, and works. The log never has the key itself.
func TestGeneratedMasterKey(t *testing.T) {
	a := New(t, Options{})
	a.Key = ""
	a.Start()
	a.WaitReady(30 * time.Second)
	file := fleet.Dir(a.Dir).MasterKey()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(b))
	if !strings.HasPrefix(key, "sk-") || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: mode %v, prefix sk- %v", info.Mode(), strings.HasPrefix(key, "sk-"))
	}
	const body = `{"model":"demo","messages":[]}`
	a.Key = key
	if r, err := a.Chat(body); err != nil || r.Status != http.StatusOK {
		t.Errorf("with the key: %v %+v", err, r)
	}
	a.Key = "sk-other"
	if r, err := a.Chat(body); err != nil || r.Status != http.StatusUnauthorized {
		t.Errorf("with another key: %v %+v", err, r)
	}
	// The output of a worker comes by the supervisor, and may come after its readiness.
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(a.Log(), file) && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	if n := strings.Count(a.Log(), file); n != 1 {
		t.Errorf("where the key lies is said %d times, want once\n%s", n, a.Tail(20))
	}
	if a.Stop(); strings.Contains(a.Log(), key) {
		t.Error("the key is in the log")
	}
}

// A wrong start says what is wrong and exits as documented.
func TestWrongStarts(t *testing.T) {
	taken := boot(t, Options{})
	for _, c := range []struct {
		name string
		opts Options
		port int
		code int
		says []string
	}{
		{"bad flag", Options{Args: []string{"--no-such-flag"}}, 0, fleet.ExitUsage, []string{"no-such-flag"}},
		{"bad workers", Options{Args: []string{"--num_workers", "many"}}, 0, fleet.ExitUsage, []string{"many"}},
		{
			"bad config",
			Options{Config: "model_list:\n  - model_name: 3\n    litellm_params: []\ngeneral_settings: {master_key: 7}\n"},
			0, fleet.ExitConfig,
			[]string{"config.yaml:3", "config.yaml:4"},
		},
		{"unreadable config", Options{Config: "model_list: [\n"}, 0, fleet.ExitConfig, []string{"config.yaml"}},
		{"port taken", Options{}, taken.Port, fleet.ExitConfig, []string{"supervisor"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := New(t, c.opts)
			if c.port != 0 {
				a.Port = c.port
			}
			a.Start()
			if code := a.Wait(20 * time.Second); code != c.code {
				t.Errorf("exit %d, want %d\n%s", code, c.code, a.Tail(20))
			}
			for _, want := range c.says {
				if !strings.Contains(a.Log(), want) {
					t.Errorf("does not say %q\n%s", want, a.Tail(20))
				}
			}
			a.NoneLeft(2 * time.Second)
		})
	}
	// A second supervisor on the same state directory.
	second := New(t, Options{})
	second.Dir = taken.Dir
	second.Start()
	if code := second.Wait(20 * time.Second); code != fleet.ExitConfig {
		t.Errorf("second supervisor: exit %d, want %d\n%s", code, fleet.ExitConfig, second.Tail(20))
	}
	second.Dir = second.logPath // what runs in the shared directory is not the second's
	if r, err := taken.Chat(`{"model":"demo","messages":[]}`); err != nil || r.Status != http.StatusOK {
		t.Errorf("the first one after that: %v %+v", err, r)
	}
	taken.client.CloseIdleConnections()
	taken.Signal(syscall.SIGINT)
	if code := taken.Wait(30 * time.Second); code != fleet.ExitOK {
		t.Errorf("INT: exit %d", code)
	}
}
