package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"sluice/proxy/config"
)

// files are the contents of what a configuration was read from, by path.
type files map[string][]byte

// recording reads from disk and keeps what was read.
func (f files) recording(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		f[path] = b
	}
	return b, err
}

// replay reads what was kept; nothing else exists.
func (f files) replay(path string) ([]byte, error) {
	if b, ok := f[path]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

// loadOrKeep reads the configuration for a start. A worker that is born while
// the files on disk are wrong, because its predecessor died or was recycled,
// serves what its neighbours serve: the configuration that was last in force.
func (w *worker) loadOrKeep(log *slog.Logger) (*config.File, error) {
	file, err := w.loadRecorded(log)
	if err == nil || w.link == nil {
		return file, err
	}
	kept, found := w.goodFiles()
	if !found {
		return nil, err
	}
	src := w.source
	src.ReadFile, src.Overlay = kept.replay, w.overlay.over()
	old, oldErr := load(src, log)
	if oldErr != nil {
		return nil, err
	}
	w.log.Error("the configuration on disk is wrong, serving the last good one", errAttr(err))
	w.files = kept
	return old, nil
}

// loadRecorded reads the configuration from disk and notes its files.
func (w *worker) loadRecorded(log *slog.Logger) (*config.File, error) {
	read := files{}
	src := w.source
	src.ReadFile, src.Overlay = read.recording, w.overlay.over()
	file, err := load(src, log)
	if err == nil {
		w.files = read
	}
	return file, err
}

func (w *worker) goodFiles() (files, bool) {
	b, err := os.ReadFile(w.dir.GoodConfig())
	if err != nil {
		return nil, false
	}
	kept := files{}
	return kept, json.Unmarshal(b, &kept) == nil
}

// keepGood stores the files of the configuration that is in force now.
func (w *worker) keepGood() {
	if w.link == nil {
		return
	}
	if err := writeFiles(w.dir.GoodConfig(), w.files); err != nil {
		w.log.Warn("the configuration in use could not be kept for later workers", errAttr(err))
	}
}

// writeFiles replaces path in one step, with mode 0600: the files may hold
// credentials.
func writeFiles(path string, f files) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	t, err := os.CreateTemp(filepath.Dir(path), ".config-") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(t.Name()) }() // gone already when all went well
	_, err = t.Write(b)
	if closeErr := t.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", t.Name(), err)
	}
	return os.Rename(t.Name(), path)
}
