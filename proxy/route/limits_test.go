package route

import "testing"

// TestLimits: a group can do what the best of its deployments can, an alias
// what its group can, a name that a pattern covers what the pattern can.
func TestLimits(t *testing.T) {
	table, err := New(Config{
		Deployments: []Deployment{
			{Group: "a", Model: "x", Limits: Limits{MaxInput: 100}},
			{Group: "a", Model: "y", Limits: Limits{Mode: "chat", MaxInput: 50, MaxOutput: 7}},
			{Group: "p/*", Model: "*", Limits: Limits{Mode: "rerank"}},
			{Group: "bare", Model: "z"},
		},
		Aliases: map[string]Alias{"other": {Model: "a"}},
		Rand:    func(uint64) uint64 { return 0 }, Now: func() int64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	both := Limits{Mode: "chat", MaxInput: 100, MaxOutput: 7}
	for name, want := range map[string]Limits{"a": both, "other": both, "p/q": {Mode: "rerank"}, "p/*": {Mode: "rerank"}, "bare": {}} {
		if m, ok := table.Model([]byte(name)); !ok || m.Limits != want {
			t.Errorf("%s: %v %+v, want %+v", name, ok, m.Limits, want)
		}
	}
}
