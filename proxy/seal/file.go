package seal

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"sluice/internal/env"
)

// ReadFile reads a keyring file: one id:secret a line, the first of which is to
// seal. Empty lines and lines that begin with # are passed over. The secret is
// all behind the first colon, blanks too; a carriage return at the end of a
// line is not part of it.
//
// The error names everything that is wrong, with the numbers of lines, and
// never a part of a secret.
func ReadFile(path string) ([]Entry, error) {
	data, err := env.ReadFile(path, private)
	if err != nil {
		return nil, fmt.Errorf("%s %w", shown(path), err)
	}
	return parse(path, data)
}

// parse makes the entries of what stands in the keyring file of a path.
func parse(path string, data []byte) ([]Entry, error) {
	entries, problems := parseFile(data)
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s: %s", shown(path), strings.Join(problems, "; "))
	}
	return entries, nil
}

// shown names a keyring file. What is no path for certain may be its content,
// in the wrong place.
func shown(path string) string {
	if filepath.IsAbs(path) || strings.HasPrefix(path, "./") || strings.HasPrefix(path, "../") {
		return "the keyring file " + path
	}
	return "the file that SLUICE_KEYRING_FILE names"
}

// private refuses a file that somebody else can read or write.
func private(info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if mode := info.Mode().Perm(); !ok || foreign(mode, stat.Uid, os.Geteuid()) {
		return fmt.Errorf("has mode %04o, so that others can read or write it: chmod 0600 it", mode)
	}
	return nil
}

// foreign reports whether somebody else may read or write a file. A group may
// read one of root's where that is the only way for this user to read it: so do
// systemd's credentials for a service of another user and secrets of Kubernetes
// under an fsGroup look.
func foreign(mode os.FileMode, owner uint32, user int) bool {
	if mode&0o077 == 0 {
		return false
	}
	return mode&0o037 != 0 || owner != 0 || user == 0
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
	case len(id) >= minSecret && Weak(env.Secret(id)) == "" && Weak(env.Secret(secret)) != "":
		return e, false, "the id before the colon looks like the secret, and would be shown: a line is id:secret"
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
