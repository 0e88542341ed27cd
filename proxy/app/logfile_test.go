package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/boot"
	"sluice/proxy/config"
)

// TestLogFile: lines go to LITELLM_LOG_FILE and no longer to standard error; a
// reload opens it again; one that cannot be opened changes nothing.
func TestLogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "proxy.log")
	var stderr bytes.Buffer
	w := &worker{log: boot.NewLogger(&stderr, boot.LogOptions{})}
	file := &config.File{Server: config.Server{LogFile: path}}
	if err := w.setLog(file); err != nil {
		t.Fatal(err)
	}
	w.log.Info("before")
	for end := time.Now().Add(5 * time.Second); !strings.Contains(content(t, path), "before"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the line was not written")
		}
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := w.setLog(file); err != nil {
		t.Fatal(err)
	}
	bad := &config.File{Server: config.Server{LogFile: filepath.Join(path, "x")}}
	if err := w.setLog(bad); err == nil || !strings.Contains(err.Error(), "LITELLM_LOG_FILE") {
		t.Errorf("a path that cannot be: %v", err)
	}
	w.log.Info("after")
	if !w.log.Close() {
		t.Error("lines were lost")
	}
	if got := content(t, path); strings.Contains(got, "before") || !strings.Contains(got, "after") {
		t.Errorf("the new file holds %q", got)
	}
	if stderr.Len() > 0 {
		t.Errorf("standard error got %q", stderr.String())
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
