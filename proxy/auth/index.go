package auth

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"sluice/proxy/identity"
)

// index is where in a snapshot's file the newest frame of each id is.
type index struct {
	s       *Snapshot
	file    *os.File
	read    int64 // bytes that were looked at
	looked  time.Time
	places  map[frameID]place
	changes map[[32]byte]noted // an object's newest change
	contact int64              // when the database has answered last, unix nanoseconds
}

type frameID struct {
	kind byte
	id   [32]byte
}

// noted is a change.
type noted struct{ number, at int64 }

type place struct {
	from, size int64
	at         int64
	gone       bool
}

var errNotOurs = errors.New("the key snapshot was not written here")

// read gives an index that is as new as the file. The mutex is held.
func (s *Snapshot) read() (*index, error) {
	x := s.index
	if x != nil && time.Since(x.looked) < time.Second {
		return x, nil
	}
	if x != nil {
		here, err := x.file.Stat()
		if err == nil {
			if there, err := os.Stat(s.path); err == nil && os.SameFile(here, there) {
				return x, x.more()
			}
		}
	}
	s.forget()
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	head := make([]byte, firstSize)
	n, _ := io.ReadFull(f, head)
	if !s.ours(head[:n]) {
		_ = f.Close()
		s.foreign()
		return nil, errNotOurs
	}
	x = &index{s: s, file: f, places: map[frameID]place{}, changes: map[[32]byte]noted{}}
	if err := x.more(); err != nil {
		_ = f.Close()
		return nil, err
	}
	s.index = x
	return x, nil
}

// more looks at what was appended since. A torn end is looked at again.
func (x *index) more() error {
	x.looked = time.Now()
	end, err := eachFrame(x.file, x.read, func(f *scanned, from int64) bool {
		x.note(f, from)
		return true
	})
	x.read = end
	return err
}

// eachFrame calls each for the whole frames of a file behind a place, with where
// they begin in it, until that returns false. It returns the end of the last one.
func eachFrame(file io.ReaderAt, behind int64, each func(f *scanned, from int64) bool) (end int64, err error) {
	const window = 1 << 20
	end = behind
	buf, base := make([]byte, 0, window), behind // base is where in the file buf begins
	for {
		n, err := file.ReadAt(buf[len(buf):cap(buf)], base+int64(len(buf)))
		buf = buf[:len(buf)+n]
		at := 0
		for f, ok := nextFrame(buf, at); ok; f, ok = nextFrame(buf, at) {
			at = f.from + f.size
			end = base + int64(at)
			if !each(&f, base+int64(f.from)) {
				return end, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return end, nil
		}
		if err != nil {
			return end, fmt.Errorf("read the key snapshot: %w", err)
		}
		if at == 0 && len(buf) > maxFrame+frameHead { // no frame is that long
			at = len(buf) - len(frameMagic)
			if i := bytes.Index(buf[1:], []byte(frameMagic)); i >= 0 {
				at = 1 + i
			}
		}
		base += int64(at)
		rest := buf[at:]
		if len(rest) > cap(buf)/2 {
			buf = make([]byte, 0, 2*cap(buf))
		}
		buf = append(buf[:0], rest...)
	}
}

// note takes over one frame, which begins at from in the file. Only what is short
// is opened now.
func (x *index) note(f *scanned, from int64) {
	if f.kind != frameChanged {
		x.contact = max(x.contact, f.at)
	}
	switch f.kind {
	case frameChanged:
		plain, err := x.s.seal.open(f)
		if err != nil || len(plain) != 8 {
			return
		}
		if number := int64(binary.LittleEndian.Uint64(plain)); number > x.changes[f.id].number {
			x.changes[f.id] = noted{number, f.at}
		}
	case frameGone:
		if _, err := x.s.seal.open(f); err == nil {
			x.places[frameID{frameKey, f.id}] = place{at: f.at, gone: true, from: from, size: int64(f.size)}
		}
	case frameKey, frameObject, frameNamed:
		x.places[frameID{f.kind, f.id}] = place{from: from, size: int64(f.size), at: f.at}
	}
}

// value reads and opens the newest frame of an id.
func (x *index) value(kind byte, id [32]byte) ([]byte, bool) {
	p, ok := x.places[frameID{kind, id}]
	if !ok || p.gone {
		return nil, false
	}
	raw := make([]byte, p.size)
	if _, err := x.file.ReadAt(raw, p.from); err != nil {
		return nil, false
	}
	f, ok := frameAt(raw, 0)
	if !ok || f.kind != kind || f.id != id {
		return nil, false
	}
	plain, err := x.s.seal.open(&f)
	return plain, err == nil
}

// objectOf reads an object that keys share; nil where it is not there.
func objectOf[T any](x *index, kind identity.Kind, id string) *T {
	if id == "" {
		return nil
	}
	raw, ok := x.value(frameObject, objectID(kind, id))
	o := new(T)
	if !ok || json.Unmarshal(raw, o) != nil {
		return nil
	}
	return o
}

func add[T any](to *[]*T, o *T) *T {
	if o != nil {
		*to = append(*to, o)
	}
	return o
}

// related collects everything that a key refers to, as far as it is there.
func (x *index) related(k *identity.Key) *identity.Resolved {
	out := &identity.Resolved{Keys: []*identity.Key{k}}
	groups := list(k.Settings, "access_group_ids")
	orgs, budgets := []string{k.OrganizationID}, []string{k.BudgetID}
	if u := add(&out.Users, objectOf[identity.User](x, identity.KindUser, k.UserID)); u != nil {
		budgets = append(budgets, u.BudgetID)
	}
	if t := add(&out.Teams, objectOf[identity.Team](x, identity.KindTeam, k.TeamID)); t != nil {
		orgs = append(orgs, t.OrganizationID)
		groups = append(groups, list(t.Settings, "access_group_ids")...)
		budgets = append(budgets, t.BudgetID, textOf(t.Metadata, "team_member_budget_id"))
	}
	if k.TeamID != "" && k.UserID != "" {
		m := add(&out.Members, objectOf[identity.Member](x, identity.KindMember, memberID(k.TeamID, k.UserID)))
		if m != nil {
			budgets = append(budgets, m.BudgetID)
		}
	}
	slices.Sort(orgs)
	for _, id := range slices.Compact(orgs) {
		if o := add(&out.Organizations, objectOf[identity.Organization](x, identity.KindOrganization, id)); o != nil {
			budgets = append(budgets, o.BudgetID)
		}
		if id == "" || k.UserID == "" {
			continue
		}
		m := add(&out.OrganizationMembers, objectOf[identity.OrganizationMember](x, identity.KindOrganizationMember, memberID(id, k.UserID)))
		if m != nil {
			budgets = append(budgets, m.BudgetID)
		}
	}
	if p := add(&out.Projects, objectOf[identity.Project](x, identity.KindProject, k.ProjectID)); p != nil {
		budgets = append(budgets, p.BudgetID)
	}
	slices.Sort(budgets)
	for _, id := range slices.Compact(budgets) {
		add(&out.Budgets, objectOf[identity.Budget](x, identity.KindBudget, id))
	}
	for _, id := range groups {
		add(&out.AccessGroups, objectOf[identity.AccessGroup](x, identity.KindAccessGroup, id))
	}
	return out
}

// lastContact is when the database has answered this host last, as far as the
// end of the file says; zero where it says nothing.
func (s *Snapshot) lastContact() time.Time {
	const tail = 256 << 10
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.Open(s.path)
	if err != nil {
		return time.Time{}
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, firstSize)
	n, _ := io.ReadFull(f, head)
	if !s.ours(head[:n]) {
		s.foreign()
		return time.Time{}
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return time.Time{}
	}
	from := max(end-tail, 0)
	b, err := io.ReadAll(io.NewSectionReader(f, from, end-from))
	if err != nil {
		return time.Time{}
	}
	var last int64
	for at := 0; ; {
		found, ok := nextFrame(b, at)
		if !ok {
			break
		}
		at = found.from + found.size
		if _, err := s.seal.open(&found); err == nil && found.kind != frameChanged {
			last = max(last, found.at)
		}
	}
	if last == 0 {
		return time.Time{}
	}
	return time.Unix(0, last)
}

// compact writes the newest frames into a new file. One process does it at a
// time; the others wait for the lock with what they append. The mutex is held.
func (s *Snapshot) compact() error {
	if err := s.locked(syscall.LOCK_EX); err != nil {
		return err
	}
	defer func() { _ = s.locked(syscall.LOCK_UN) }()
	size, err := s.current()
	if err != nil || size <= s.after { // somebody else did it
		return err
	}
	s.forget()
	x, err := s.read()
	if err != nil {
		return err
	}
	if err := s.replace(x.rewrite); err != nil {
		return fmt.Errorf("compact the key snapshot: %w", err)
	}
	s.forget()
	_, err = s.current()
	return err
}

// rewrite writes what is worth keeping of the file.
func (x *index) rewrite(w io.Writer) error {
	now := time.Now()
	head := first()
	head.at = x.contact // a file that is written anew is no answer of the database
	if err := x.s.write(w, head, now); err != nil {
		return err
	}
	for id, c := range x.changes {
		if now.UnixNano()-c.at >= int64(snapshotAge) {
			continue
		}
		f := frame{kind: frameChanged, id: id, at: c.at, value: binary.LittleEndian.AppendUint64(nil, uint64(c.number))}
		if err := x.s.write(w, f, now); err != nil {
			return err
		}
	}
	total := int64(0)
	for _, p := range x.newest(now) {
		if total += p.size; total > x.s.most/2 {
			break
		}
		if err := x.copyFrame(w, p); err != nil {
			return err
		}
	}
	return nil
}

// copyFrame writes a frame as it was, sealed with the key of now. One that does
// not open is worth nothing to anybody.
func (x *index) copyFrame(w io.Writer, p place) error {
	raw := make([]byte, p.size)
	if _, err := x.file.ReadAt(raw, p.from); err != nil {
		return err
	}
	f, ok := frameAt(raw, 0)
	if !ok {
		return nil
	}
	plain, err := x.s.seal.open(&f)
	if err != nil {
		return nil //nolint:nilerr // the file goes on without it
	}
	return x.s.write(w, frame{kind: f.kind, id: f.id, at: f.at, value: plain}, time.Time{})
}

// newest lists the frames that are worth keeping: what others keep here first,
// then shared objects, then keys, the youngest first.
func (x *index) newest(now time.Time) []place {
	type entry struct {
		kind byte
		place
	}
	var all []entry
	for id, p := range x.places {
		if id.kind == frameNamed || now.UnixNano()-p.at < int64(snapshotAge) {
			all = append(all, entry{id.kind, p})
		}
	}
	slices.SortFunc(all, func(a, b entry) int {
		if a.kind != b.kind {
			return int(b.kind) - int(a.kind)
		}
		return int(max(min(b.at-a.at, 1), -1))
	})
	out := make([]place, len(all))
	for i := range all {
		out[i] = all[i].place
	}
	return out
}
