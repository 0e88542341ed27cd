package config

import (
	"fmt"
	"path/filepath"
	"strings"

	"sluice/internal/env"
)

// dotEnv reads the file .env of a directory under the environment, which wins.
// In production mode it is left alone.
func dotEnv(r *report, e *env.Environ, dir string, read func(string) ([]byte, error)) *env.Environ {
	if strings.EqualFold(e.Get("LITELLM_MODE"), "PRODUCTION") {
		return e
	}
	path := filepath.Join(dir, ".env")
	data, err := read(path)
	if err != nil || len(data) > 1<<20 {
		return e
	}
	vars := map[string]string{}
	rest := string(data)
	for line := 1; rest != ""; {
		name, value, used, ok := dotEnvEntry(rest)
		switch {
		case !ok:
			r.warnf(Pos{path, line}, "", "not read: NAME=VALUE is expected")
		case name != "":
			vars[name] = expandDotEnv(value, vars, e)
		}
		line += strings.Count(rest[:used], "\n")
		rest = rest[used:]
	}
	for name := range vars {
		if own, ok := e.Lookup(name); ok {
			vars[name] = own
		}
	}
	return e.With(vars)
}

// quoted marks a value in single quotes, in which nothing is expanded.
const quoted = "\x00"

// dotEnvEntry reads one entry and says how much of the text it took. Blank
// lines and comments give no name.
func dotEnvEntry(s string) (name, value string, used int, ok bool) {
	used = strings.IndexByte(s, '\n') + 1
	if used == 0 {
		used = len(s)
	}
	line := strings.TrimSpace(s[:used])
	if line == "" || line[0] == '#' {
		return "", "", used, true
	}
	name, value, found := strings.Cut(strings.TrimPrefix(line, "export "), "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !found || name == "" || strings.ContainsAny(name, " \t\"'") {
		return "", "", used, false
	}
	if value == "" || value[0] != '"' && value[0] != '\'' {
		if i := strings.Index(value, " #"); i >= 0 {
			value = strings.TrimSpace(value[:i])
		}
		return name, value, used, true
	}
	return dotEnvQuoted(s, name, value[0], used)
}

// dotEnvQuoted reads a value in quotes, which may go over several lines.
func dotEnvQuoted(s, name string, mark byte, used int) (_, value string, _ int, ok bool) {
	start := strings.IndexByte(s, '=')
	start += strings.IndexByte(s[start:], mark) + 1
	var b strings.Builder
	for i := start; i < len(s); i++ {
		switch c := s[i]; {
		case c == mark:
			if end := strings.IndexByte(s[i:], '\n'); end >= 0 {
				used = i + end + 1
			} else {
				used = len(s)
			}
			if mark == '\'' {
				return name, quoted + b.String(), used, true
			}
			return name, b.String(), used, true
		case c == '\\' && mark == '"' && i+1 < len(s):
			i++
			b.WriteString(unescape(s[i]))
		default:
			b.WriteByte(c)
		}
	}
	return "", "", used, false
}

func unescape(c byte) string {
	switch c {
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case 'r':
		return "\r"
	case '"', '\\', '$', '\'':
		return string(c)
	default:
		return "\\" + string(c)
	}
}

// expandDotEnv replaces ${NAME} in a value of the file.
func expandDotEnv(text string, vars map[string]string, e *env.Environ) string {
	if plain, ok := strings.CutPrefix(text, quoted); ok {
		return plain
	}
	if !strings.Contains(text, "${") {
		return text
	}
	s := &substituter{report: newReport(false), environ: e, warned: map[string]bool{}}
	known := map[string]string{}
	for name, value := range vars {
		if _, ok := e.Lookup(name); !ok {
			known[name] = value
		}
	}
	s.environ = e.With(known)
	return s.expand(&value{is: 0, text: text}, fmt.Sprintf("%q", ".env"))
}
