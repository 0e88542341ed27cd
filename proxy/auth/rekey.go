package auth

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Use seals with the first of these keys from now on and opens with all of them.
// What the file holds under another key than the first, of those that were used
// before or of these, is sealed anew, so that nothing is lost on the day that
// the other key is gone. It reads the whole file and is not for the request path.
func (s *Snapshot) Use(keys [][32]byte) error {
	next, err := newSealer(keys)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.seal
	s.forget()
	s.seal = append(append(sealer{}, next...), before...)
	err = s.reseal(next[:1])
	s.forget()
	if err != nil {
		return fmt.Errorf("seal the key snapshot anew: %w", err) // all keys stay, and nothing is lost
	}
	s.seal = next
	return nil
}

// reseal writes the file anew where something in it does not open under one
// key. Nobody else writes meanwhile. The mutex is held.
func (s *Snapshot) reseal(key sealer) error {
	if err := s.locked(syscall.LOCK_EX); err != nil {
		return err
	}
	defer func() { _ = s.locked(syscall.LOCK_UN) }()
	x, err := s.read()
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, errNotOurs) {
		return nil
	}
	if err != nil {
		return err
	}
	under, err := x.allUnder(key)
	if under || err != nil {
		return err
	}
	return s.replace(x.rewrite)
}

// allUnder reports whether every frame of the file opens under one key. Frames
// that open under no key do not count.
func (x *index) allUnder(key sealer) (bool, error) {
	all := true
	_, err := eachFrame(x.file, 0, func(f *scanned, _ int64) bool {
		if _, err := key.open(f); err == nil {
			return true
		}
		_, err := x.s.seal.open(f)
		all = err != nil
		return all
	})
	return all, err
}
