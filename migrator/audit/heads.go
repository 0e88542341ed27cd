package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"sluice/proxy/chain"
)

// headLine is a head of the chain that was kept outside of the database: a line
// of a host's audit-head.jsonl, or of a log in JSON. Fields that are not known
// do not matter.
type headLine struct {
	Number int64     `json:"number"`
	MAC    digest    `json:"mac"`
	Time   time.Time `json:"time"`
}

// longestHead is more than a line with a head can have.
const longestHead = 4096

// heads are what several files kept. Several hosts may have kept the same one,
// and after a backup was restored a row may have two.
type heads struct {
	list   []chain.Anchor
	newest int64
	seen   map[string]bool
}

// readHeads reads files of heads. A last line without its end is one that a
// crash cut off, and is passed over; everything else has to be right.
func readHeads(files []string) (*heads, error) {
	h := &heads{seen: map[string]bool{}}
	for _, path := range files {
		if err := h.read(path); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func (h *heads) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the heads of the chain: %w", err)
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, longestHead)
	for n := 1; ; n++ {
		text, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if err == nil && len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		var line headLine
		if err != nil || json.Unmarshal(text, &line) != nil || line.Number < 1 || len(line.MAC) == 0 {
			return fmt.Errorf("%s, line %d: it is no head of a chain, which is an object with number and mac", path, n)
		}
		h.add(line)
	}
}

// add keeps a head, once.
func (h *heads) add(line headLine) {
	id := fmt.Sprintf("%d %x", line.Number, line.MAC)
	if h.seen[id] {
		return
	}
	h.seen[id] = true
	h.newest = max(h.newest, line.Number)
	h.list = append(h.list, chain.Anchor{Number: line.Number, MAC: line.MAC, At: line.Time})
}
