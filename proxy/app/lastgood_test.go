package app

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"sluice/internal/boot"
	"sluice/internal/env"
	"sluice/proxy/config"
	"sluice/supervisor/fleet"
)

// A worker born beside a broken file serves what was last in force; a first
// start has nothing to fall back on.
func TestLoadOrKeep(t *testing.T) {
	dir := fleet.Dir(t.TempDir())
	if err := os.MkdirAll(dir.Run(), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := boot.NewLogger(io.Discard, boot.LogOptions{})
	defer log.Close()
	born := func() *worker {
		return &worker{
			dir: dir, log: log, link: &link{},
			source: config.Source{Environ: env.Parse([]byte("CONFIG_FILE_PATH=" + path + "\x00"))},
		}
	}
	const good = "model_list:\n- {model_name: kept, litellm_params: {model: openai/x, api_key: k}}\n"
	quiet := slog.New(slog.DiscardHandler)

	write("model_list: [")
	if _, err := born().loadOrKeep(quiet); err == nil {
		t.Fatal("a first start with a broken file was let through")
	}
	write(good)
	first := born()
	if _, err := first.loadOrKeep(quiet); err != nil {
		t.Fatal(err)
	}
	first.keepGood()
	if st, err := os.Stat(dir.GoodConfig()); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("kept configuration: %v, want mode 600", err)
	}
	write("model_list: [")
	file, err := born().loadOrKeep(quiet)
	if err != nil {
		t.Fatalf("with a kept configuration: %v", err)
	}
	if len(file.Models) != 1 || file.Models[0].Name != "kept" {
		t.Errorf("got %d models, want the one that was kept", len(file.Models))
	}
}
