package env

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxSecret bounds a file of secrets, in bytes.
const maxSecret = 64 << 10

// Secret returns a secret in any of its three forms, in this order: the
// variable itself, the file that NAME_FILE names, the file NAME (or name in
// small letters, alone or behind sluice_) in $CREDENTIALS_DIRECTORY, where systemd
// puts credentials. One
// line end at the end of a file is dropped. It is "" where none is given. Files
// are read anew by each call.
//
// A file that is given and empty is an error, because what stands in for a
// secret that is not given would surprise whoever gave it. No error shows what
// a variable or a file holds: a secret may be in the wrong one.
func (e *Environ) Secret(name string) (Secret, error) {
	if value := e.Get(name); value != "" || !variable(name) {
		return Secret(value), nil
	}
	if path := e.Get(name + "_FILE"); path != "" {
		text, err := readSecret(path)
		if err != nil {
			return "", fmt.Errorf("%s_FILE: %w", name, withPath(path, err))
		}
		return text, nil
	}
	dir := e.Get("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", nil
	}
	for _, file := range credentialNames(name) {
		text, err := readSecret(filepath.Join(dir, file))
		if err == nil {
			return text, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("the credential %s in $CREDENTIALS_DIRECTORY %w", file, err)
		}
	}
	return "", nil
}

// credentialNames are the files of a credential: NAME, name, and sluice_name,
// which LoadCredential=sluice:DIRECTORY makes of a file name in that directory.
func credentialNames(name string) []string {
	small := strings.ToLower(name)
	return []string{name, small, "sluice_" + small}
}

// Value is Lookup of a variable that may be a secret: where it is not set, or
// empty, the other forms of Secret count. ok says that a form is given.
func (e *Environ) Value(name string) (text string, ok bool, err error) {
	if text, ok = e.Lookup(name); text != "" {
		return text, true, nil
	}
	secret, err := e.Secret(name)
	return secret.Reveal(), ok || secret != "", err
}

// variable reports whether a name is one that a variable may have, and so no
// path out of a directory either.
func variable(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && len(name) <= 128
}

// readSecret reads a secret's file, which must not be empty.
func readSecret(path string) (Secret, error) {
	data, err := ReadFile(path, nil)
	if err != nil {
		return "", err
	}
	text := trimLine(data)
	if text == "" {
		return "", errors.New("is empty: write the secret into it, or do not name it")
	}
	return text, nil
}

// ReadFile reads a regular file of at most 64 KiB that holds secrets. allowed
// may refuse it by its mode and owner; nil allows all. Errors complete a sentence
// that begins with the file: they name neither its path nor what is in it.
func ReadFile(path string, allowed func(fs.FileInfo) error) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would keep us waiting
	if err != nil {
		return nil, unreadable(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is no regular file")
	}
	if allowed != nil {
		if err := allowed(info); err != nil {
			return nil, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		return nil, unreadable(err)
	case len(data) > maxSecret:
		return nil, fmt.Errorf("has more than %d KiB", maxSecret>>10)
	}
	return data, nil
}

// unreadable is why a file cannot be read, without its path.
func unreadable(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("cannot be read: %w", err)
}

// withPath names the file of an error where the text can be nothing but a path.
func withPath(path string, err error) error {
	if filepath.IsAbs(path) && !strings.Contains(path, "://") {
		return fmt.Errorf("%s %w", path, err)
	}
	return fmt.Errorf("the file that it names %w", err)
}

func trimLine(data []byte) Secret {
	text := strings.TrimSuffix(string(data), "\n")
	return Secret(strings.TrimSuffix(text, "\r"))
}
