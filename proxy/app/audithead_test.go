package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/dbtest"
	"sluice/proxy/identity"
	"sluice/proxy/store"
	"sluice/supervisor/fleet"
)

// TestHead: the head goes to the file when it has moved, once, whoever writes it.
func TestHead(t *testing.T) {
	h := newHost(t, store.Config{SQLite: dbtest.SQLite(t)}, "a", "main:sk-right-secret")
	leave := func() {
		t.Helper()
		if err := leaveHead(t.Context(), h.d.store, h.w.dir, h.d.log); err != nil {
			t.Fatal(err)
		}
	}
	leave()
	if _, err := os.Stat(h.w.dir.AuditHead()); err == nil {
		t.Error("a record without a row has a head")
	}
	h.mustCheck()
	var together sync.WaitGroup
	for range 8 {
		together.Go(leave)
	}
	together.Wait()
	insert(t, h.d.store, &identity.User{ID: "u"})
	leave()
	leave()
	text, err := os.ReadFile(h.w.dir.AuditHead())
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(h.w.dir.AuditHead())
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte{'\n'})
	now, err := h.d.store.ChainHead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var last auditHead
	if len(lines) != 2 || json.Unmarshal(lines[1], &last) != nil || last.Number != now.Number || last.MAC != fmt.Sprintf("%x", now.MAC) ||
		last.Key != "main" || time.Since(last.Time) > time.Hour {
		t.Errorf("%s", text)
	}
	if n := h.said.Count("head of the record"); n != 2 {
		t.Errorf("said %d times:\n%s", n, h.said.String())
	}
}

// TestHeadFile: the file stays bounded, and half a line of a crash goes.
func TestHeadFile(t *testing.T) {
	dir := fleet.Dir(t.TempDir())
	var text strings.Builder
	for i := range headLines + headSlack {
		fmt.Fprintf(&text, `{"number":%d,"mac":"00"}`+"\n", i+1)
	}
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(dir.AuditHead(), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func() []string {
		t.Helper()
		b, err := os.ReadFile(dir.AuditHead())
		if err != nil || !bytes.HasSuffix(b, []byte{'\n'}) {
			t.Fatalf("%.100s %v", b, err)
		}
		return strings.Split(strings.TrimSpace(string(b)), "\n")
	}
	write(text.String())
	if fresh, err := appendHead(dir, auditHead{Number: 99_999, MAC: "ff"}); !fresh || err != nil {
		t.Fatal(fresh, err)
	}
	lines := read()
	if len(lines) != headLines+1 || !strings.Contains(lines[headLines], "99999") || !strings.Contains(lines[headLines-1], fmt.Sprint(headLines+headSlack)) {
		t.Errorf("%d lines, the last are %q", len(lines), lines[len(lines)-2:])
	}
	write(`{"number":1,"mac":"00"}` + "\n" + `{"number":2,"ma`)
	if _, err := appendHead(dir, auditHead{Number: 2, MAC: "01"}); err != nil {
		t.Fatal(err)
	}
	if lines := read(); len(lines) != 2 || !strings.Contains(lines[1], `"mac":"01"`) {
		t.Errorf("%q", lines)
	}
}

func TestHostID(t *testing.T) {
	dir := fleet.Dir(t.TempDir())
	var (
		together sync.WaitGroup
		mu       sync.Mutex
		ids      = map[string]bool{}
	)
	for range 8 {
		together.Go(func() {
			id, err := hostID(dir)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			ids[id] = true
			mu.Unlock()
		})
	}
	together.Wait()
	if len(ids) != 1 {
		t.Errorf("%d ids: %v", len(ids), ids)
	}
	for _, bad := range []string{"", "short\n", strings.Repeat("x", 65), "with a space in the middle"} {
		if err := os.WriteFile(dir.HostID(), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := hostID(dir); err == nil || !strings.Contains(err.Error(), "remove the file") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
