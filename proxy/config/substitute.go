package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"sluice/internal/env"
)

// reference is how a whole value names a variable.
const reference = "os.environ/"

// substituter replaces references to variables in texts: the variable itself,
// or what stands for it as a file or a credential. It never sees the raw file,
// so that what a variable holds cannot become structure.
type substituter struct {
	report  *report
	environ *env.Environ
	warned  map[string]bool
	used    map[string]bool // names that were looked up; nil: nobody asks
}

// apply replaces the references of one text in place.
func (s *substituter) apply(v *value, path string) {
	if name, ok := strings.CutPrefix(v.text, reference); ok {
		s.whole(v, path, name)
		return
	}
	if !strings.Contains(v.text, "${") {
		return
	}
	if name, def, end := braces(v.text); end == len(v.text) && def == nil {
		s.whole(v, path, name)
		return
	}
	v.text = s.expand(v, path)
}

// whole replaces a value that is one reference and nothing else.
func (s *substituter) whole(v *value, path, name string) {
	v.fromEnv = true
	got, ok, err := s.lookup(name)
	switch {
	case err != nil:
		s.report.errorf(v.at, path, "", "%v", err)
		v.is, v.text = null, ""
	case !ok:
		s.unset(v.at, path, name)
		v.is, v.text = null, ""
	case strings.EqualFold(got, "true"), strings.EqualFold(got, "false"):
		v.is, v.text, v.on = boolean, got, strings.EqualFold(got, "true")
	default:
		v.text = got
	}
}

// expand replaces ${NAME} and ${NAME:-default} within a text. "$${" is a
// literal "${".
func (s *substituter) expand(v *value, path string) string {
	var out strings.Builder
	rest := v.text
	for {
		i := strings.Index(rest, "${")
		if i < 0 || out.Len() > maxFile {
			out.WriteString(rest)
			return out.String()
		}
		if i > 0 && rest[i-1] == '$' {
			out.WriteString(rest[:i-1])
			out.WriteString("${")
			rest = rest[i+2:]
			continue
		}
		out.WriteString(rest[:i])
		name, def, end := braces(rest[i:])
		if end == 0 {
			out.WriteString("${")
			rest = rest[i+2:]
			continue
		}
		got, ok, err := s.lookup(name)
		switch {
		case err != nil:
			s.report.errorf(v.at, path, "", "%v", err)
		case def != nil && got == "":
			got = *def
		case !ok:
			s.unset(v.at, path, name)
		}
		v.fromEnv = true
		out.WriteString(got)
		rest = rest[i+end:]
	}
}

func (s *substituter) lookup(name string) (text string, ok bool, err error) {
	if s.used != nil {
		s.used[name] = true
	}
	return s.environ.Value(name)
}

func (s *substituter) unset(at Pos, path, name string) {
	key := at.String() + "\x00" + name
	if !s.warned[key] {
		s.warned[key] = true
		name = strings.Trim(quote(name), `"`)
		if given, _, _ := s.environ.Value("LITELLM_MASTER_KEY"); path == "general_settings.master_key" && given == "" {
			// A new one would be made in its place, that no client has.
			s.report.errorf(at, path, name+" set, or "+name+"_FILE", "the environment variable %s is not set", name)
			return
		}
		s.report.warnf(at, path, "the environment variable %s is not set", name)
	}
}

// braces reads "${NAME}" or "${NAME:-default}" at the start of a text and
// returns where it ends, 0 where there is none.
func braces(s string) (name string, def *string, end int) {
	if !strings.HasPrefix(s, "${") {
		return "", nil, 0
	}
	i := 2
	for i < len(s) && wordByte(s[i], i > 2) {
		i++
	}
	name = s[2:i]
	switch {
	case name == "" || i == len(s):
		return "", nil, 0
	case s[i] == '}':
		return name, nil, i + 1
	case strings.HasPrefix(s[i:], ":-"):
		j := strings.IndexByte(s[i:], '}')
		if j < 0 {
			return "", nil, 0
		}
		text := s[i+2 : i+j]
		return name, &text, i + j + 1
	default:
		return "", nil, 0
	}
}

func wordByte(c byte, digits bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digits && c >= '0' && c <= '9'
}

// fileError says why a file could not be read, without repeating its path.
func fileError(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Sprintf("cannot read %s: %v", path.Path, path.Err)
	}
	return err.Error()
}
