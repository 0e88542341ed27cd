package app

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

const (
	headEvery = time.Minute
	headLines = 10_000 // that the file keeps: the newest ones
	headSlack = 1_000  // more than those before it is cut
)

// auditHead is one line of the file of heads: what the last row of the record
// was at a time.
type auditHead struct {
	Number int64     `json:"number"`
	MAC    string    `json:"mac"` // hexadecimal
	Key    string    `json:"key"` // id of the sealing key that the code is made under
	Time   time.Time `json:"time"`
}

// leaveHead appends the head of the record to the host's file, unless it is the
// last line there already, and says it in the log. Several processes may do so
// at once. A record without a chain has no head.
func leaveHead(ctx context.Context, s *store.Store, dir fleet.Dir, log *slog.Logger) error {
	h, err := s.ChainHead(ctx)
	if err != nil || h.Chained == 0 {
		return err
	}
	head := auditHead{Number: h.Chained, MAC: hex.EncodeToString(h.MAC), Key: h.Key, Time: time.Now().UTC().Truncate(time.Millisecond)}
	fresh, err := appendHead(dir, head)
	if err != nil {
		return fmt.Errorf("write the head of the record of changes: %w", err)
	}
	if fresh {
		log.Info("head of the record of changes", slog.Int64("number", head.Number), slog.String("mac", head.MAC), slog.String("key_id", head.Key))
	}
	return nil
}

// appendHead appends a line and has it on disk before it returns. It is false
// where the last line says the same.
func appendHead(dir fleet.Dir, head auditHead) (bool, error) {
	path := dir.AuditHead()
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { _ = lock.Close() }() // which gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return false, err
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	lines := bytes.SplitAfter(text, []byte{'\n'})
	torn := len(text) > 0 && text[len(text)-1] != '\n' // by a crash in the middle of a line
	if !torn {
		lines = lines[:len(lines)-1]
	}
	var last auditHead
	if n := len(lines); n > 0 && json.Unmarshal(lines[n-1], &last) == nil && last.Number == head.Number && last.MAC == head.MAC {
		return false, nil
	}
	line, err := json.Marshal(head)
	if err != nil {
		return false, err
	}
	line = append(line, '\n')
	if torn {
		lines = lines[:len(lines)-1]
	}
	if torn || len(lines) >= headLines+headSlack {
		lines = lines[max(len(lines)-headLines, 0):]
		return true, replaceFile(path, append(bytes.Join(lines, nil), line...))
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return false, err
	}
	_, err = f.Write(line)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err == nil, err
}
