package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"sluice/internal/boot"
	"sluice/proxy/journal"
	"sluice/supervisor/fleet"
)

// journalCmd are the commands about the journal of a host: the attempts at
// providers that its workers have written down. They need no database and change
// nothing; the appliance may run.
type journalCmd struct {
	List   journalList   `cmd:"" help:"Print the segments of the journal, oldest first, and how much of them waits for the database."`
	Dump   journalDump   `cmd:"" help:"Print the records of segments as JSON lines."`
	Verify journalVerify `cmd:"" help:"Read every record: exit 0 when all are whole, 1 when something is damaged."`

	Dir []string `name:"dir" placeholder:"DIR" help:"Directory of the journal. Default: journal in the state directory, and SLUICE_JOURNAL_DIR."`
}

type journalList struct {
	JSON bool `name:"json" help:"Print one JSON document."`
}

type journalDump struct {
	Segment []string `arg:"" help:"Files, or names as list prints them."`
}

type journalVerify struct {
	Segment []string `arg:"" optional:"" help:"Files, or names as list prints them. Default: all."`
}

// runJournal does one of the commands.
func runJournal(p *boot.Process, args *cli, command string) error {
	dirs := args.Journal.Dir
	if len(dirs) == 0 {
		dirs = []string{filepath.Join(string(stateDir(p.Environ, args)), "journal"), p.Environ.Get("SLUICE_JOURNAL_DIR")}
	}
	segments, err := journal.Scan(dirs...)
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	switch command {
	case "journal dump <segment>":
		if segments, err = pick(segments, args.Journal.Dump.Segment); err != nil {
			return err
		}
		return dumpSegments(p.Stdout, segments)
	case "journal verify", "journal verify <segment>":
		if segments, err = pick(segments, args.Journal.Verify.Segment); err != nil {
			return err
		}
		return verifySegments(p.Stdout, segments)
	default:
		return listSegments(p.Stdout, segments, args.Journal.List.JSON)
	}
}

// pick gives the segments of those names, all where none is given. A file may
// stand anywhere.
func pick(all []*journal.Segment, names []string) ([]*journal.Segment, error) {
	if len(names) == 0 {
		return all, nil
	}
	var out []*journal.Segment
	for _, name := range names {
		var found *journal.Segment
		for _, s := range all {
			if s.Name == name || s.Path == filepath.Clean(name) {
				found = s
			}
		}
		if found == nil {
			var err error
			if found, err = journal.Find(name); errors.Is(err, os.ErrNotExist) {
				return nil, boot.Exit(fleet.ExitConfig, fmt.Errorf("%s is no segment of the journal: journal list prints their names", name))
			} else if err != nil {
				return nil, boot.Exit(fleet.ExitConfig, err)
			}
		}
		out = append(out, found)
	}
	return out, nil
}

// segmentStatus is a segment as list prints it.
type segmentStatus struct {
	Segment    string    `json:"segment"`
	State      string    `json:"state"` // writing, left, finished, shipped, bodies, unreadable
	Bytes      int64     `json:"bytes"`
	Waiting    int64     `json:"waiting_bytes"`
	Created    time.Time `json:"created_at"`
	Modified   time.Time `json:"modified_at"`
	Slot       int       `json:"slot"`
	Generation int64     `json:"generation"`
	Holder     string    `json:"holder"`
	Host       string    `json:"host_id"`
	Boot       string    `json:"boot_id"`
	Problem    string    `json:"problem,omitempty"`
}

func statusOf(s *journal.Segment) segmentStatus {
	out := segmentStatus{
		Segment: s.Path, State: "finished", Bytes: s.Size, Waiting: s.Unshipped(), Created: s.Created.UTC(), Modified: s.Modified.UTC(),
		Slot: s.Slot, Generation: s.Generation, Holder: s.Holder, Host: s.Host, Boot: s.Boot,
	}
	switch {
	case s.Problem != nil:
		out.State, out.Problem = "unreadable", s.Problem.Error()
	case !s.Finished && s.Written():
		out.State = "writing"
	case s.Body:
		out.State = "bodies"
	case !s.Finished:
		out.State = "left" // its writer died
	case s.Unshipped() == 0:
		out.State = "shipped"
	}
	return out
}

func listSegments(to io.Writer, segments []*journal.Segment, asJSON bool) error {
	all := make([]segmentStatus, 0, len(segments))
	var bytes, waiting int64
	for _, s := range segments {
		status := statusOf(s)
		all = append(all, status)
		bytes += status.Bytes
		waiting += status.Waiting
	}
	if asJSON {
		return json.NewEncoder(to).Encode(struct {
			Segments []segmentStatus `json:"segments"`
			Bytes    int64           `json:"bytes"`
			Waiting  int64           `json:"waiting_bytes"`
		}{all, bytes, waiting})
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SEGMENT\tSTATE\tBYTES\tWAITING\tWRITTEN\tHOST")
	for _, s := range all {
		host := s.Host
		if s.Problem != "" {
			host = s.Problem
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\n", filepath.Base(s.Segment), s.State, s.Bytes, s.Waiting, s.Modified.Format(time.RFC3339), host)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(to, "%d segments, %d bytes, of which %d wait for the database\n", len(all), bytes, waiting)
	return err
}

// dumpSegments prints every record as one JSON object.
func dumpSegments(to io.Writer, segments []*journal.Segment) error {
	buffered := bufio.NewWriter(to)
	out := json.NewEncoder(buffered)
	out.SetEscapeHTML(false)
	for _, s := range segments {
		if _, err := s.Read(0, func(off, end int64, r journal.Record) error {
			line := map[string]any{"segment": s.Name, "offset": off, "bytes": end - off}
			line["type"] = strings.ToLower(reflect.TypeOf(r).Elem().Name())
			addFields(line, reflect.ValueOf(r).Elem())
			return out.Encode(line)
		}); err != nil {
			_ = buffered.Flush() // the error says more
			return err
		}
	}
	return buffered.Flush()
}

// addFields adds the fields of a struct that are not empty, by names in snake
// case.
func addFields(to map[string]any, v reflect.Value) {
	for i := range v.NumField() {
		f, field := v.Type().Field(i), v.Field(i)
		switch {
		case field.IsZero() || !f.IsExported():
		case f.Anonymous:
			addFields(to, field)
		default:
			to[snake(f.Name)] = plain(field)
		}
	}
}

// plain is a value as it is printed.
func plain(v reflect.Value) any {
	if id, ok := v.Interface().([16]byte); ok {
		return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	}
	if text, ok := v.Interface().([]byte); ok {
		if json.Valid(text) {
			return json.RawMessage(text)
		}
		return string(text)
	}
	if _, ok := v.Interface().(json.Marshaler); ok { // amounts
		return v.Interface()
	}
	if name, ok := v.Interface().(fmt.Stringer); ok { // kinds, statuses
		return name.String()
	}
	switch v.Kind() {
	case reflect.Struct:
		out := map[string]any{}
		addFields(out, v)
		return out
	case reflect.Slice:
		out := make([]any, 0, v.Len())
		for i := range v.Len() {
			out = append(out, plain(v.Index(i)))
		}
		return out
	default:
		return v.Interface()
	}
}

// snake is a Go name in snake case: RequestID is request_id.
func snake(name string) string {
	var out strings.Builder
	letters := []rune(name)
	for i, r := range letters {
		lower := i+1 < len(letters) && unicode.IsLower(letters[i+1])
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(letters[i-1]) || lower) {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}

// verifySegments reads everything and says what is damaged.
func verifySegments(to io.Writer, segments []*journal.Segment) error {
	records, damaged, ranges, bad := 0, int64(0), 0, 0
	for _, s := range segments {
		if s.Problem != nil {
			bad++
			_, _ = fmt.Fprintf(to, "%s cannot be read: %v\n", s.Path, s.Problem)
			continue
		}
		if _, err := s.Read(0, func(off, end int64, r journal.Record) error {
			if _, ok := r.(*journal.Damaged); ok {
				damaged += end - off
				ranges++
				_, _ = fmt.Fprintf(to, "%s is damaged from %d to %d\n", s.Path, off, end)
				return nil
			}
			records++
			return nil
		}); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(to, "%d segments, %d records; %d bytes in %d places are damaged, %d segments cannot be read\n",
		len(segments), records, damaged, ranges, bad); err != nil {
		return err
	}
	if ranges+bad > 0 {
		return boot.Exit(fleet.ExitFailed, fmt.Errorf("the journal is damaged in %d places and %d segments cannot be read", ranges, bad))
	}
	return nil
}
