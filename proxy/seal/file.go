package seal

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"sluice/internal/env"
)

// maxFile bounds a keyring file, in bytes.
const maxFile = 64 << 10

// ReadFile reads a keyring file: one id:secret a line, the first of which is to
// seal. Empty lines and lines that begin with # are passed over. The secret is
// all behind the first colon, blanks too; a carriage return at the end of a
// line is not part of it.
//
// The error names everything that is wrong, with the numbers of lines, and
// never a part of a secret.
func ReadFile(path string) ([]Entry, error) {
	data, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	entries, problems := parseFile(data)
	if len(problems) > 0 {
		return nil, fmt.Errorf("the keyring file %s: %s", path, strings.Join(problems, "; "))
	}
	return entries, nil
}

// readPrivate reads a regular file that nobody else can read or write.
func readPrivate(path string) ([]byte, error) {
	// Opening a FIFO would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("the keyring file cannot be read: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("the keyring file cannot be read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the keyring file %s is no regular file", path)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("the keyring file %s has more than %d KiB", path, maxFile>>10)
	}
	if mode := info.Mode().Perm(); open(mode, info.Sys()) {
		return nil, fmt.Errorf("the keyring file %s has mode %04o, so that others can read or write it: chmod 0600 it", path, mode)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("the keyring file cannot be read: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("the keyring file %s has more than %d KiB", path, maxFile>>10)
	}
	return data, nil
}

// open reports whether somebody else may read or write a file. A group may read
// one of root's where that is the only way for this process to read it: so do
// systemd's credentials of another user's service and secrets of Kubernetes
// under an fsGroup look.
func open(mode os.FileMode, sys any) bool {
	if mode&0o077 == 0 {
		return false
	}
	stat, ok := sys.(*syscall.Stat_t)
	return mode&0o037 != 0 || !ok || stat.Uid != 0 || os.Geteuid() == 0
}

// parseFile reads the lines of a keyring file and says all that is wrong.
func parseFile(data []byte) (entries []Entry, problems []string) {
	ring := &Ring{}
	lines := map[string]int{} // of ids
	number := 0
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		number++
		e, empty, problem := parseLine(string(line))
		if empty {
			continue
		}
		if problem == "" {
			problem = ring.take(e)
		}
		if problem != "" {
			if first, twice := lines[e.ID]; twice {
				problem += fmt.Sprintf(" (first on line %d)", first)
			}
			problems = append(problems, fmt.Sprintf("line %d: %s", number, problem))
			continue
		}
		lines[e.ID] = number
		entries = append(entries, e)
	}
	if len(entries) == 0 && len(problems) == 0 {
		problems = append(problems, "it has no key; a line is id:secret")
	}
	return entries, problems
}

// parseLine reads one line. The entry is not to be used beside a problem, which
// holds nothing of the line but an id that is one.
func parseLine(line string) (e Entry, empty bool, problem string) {
	line = strings.TrimSuffix(line, "\r")
	if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
		return e, true, ""
	}
	id, secret, ok := strings.Cut(line, ":")
	switch {
	case !ok:
		return e, false, "has no colon; a line is id:secret"
	case !goodID.MatchString(id): // not shown: it may be a secret in the wrong place
		return e, false, "the id before the colon is not 1 to 64 letters, digits, \".\", \"_\" and \"-\""
	case strings.TrimSpace(secret) == "":
		return e, false, "key " + id + " has no secret behind the colon"
	case strings.ContainsRune(secret, 0):
		return e, false, "key " + id + " has a NUL byte in its secret"
	}
	return Entry{ID: id, Secret: env.Secret(secret)}, false, ""
}

// take adds an entry, or says what keeps it out.
func (r *Ring) take(e Entry) string {
	made, err := newEntry(e)
	if err != nil {
		return err.Error()
	}
	if problem := r.clash(made); problem != "" {
		return "key " + made.id + " " + problem
	}
	r.entries = append(r.entries, made)
	return ""
}
