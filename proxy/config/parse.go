package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of a configuration: a file that is larger is a mistake or an attack.
const (
	maxFile    = 16 << 20 // bytes of one file
	maxFiles   = 256      // files that include each other
	maxInclude = 16       // how deep they do
	maxDepth   = 64       // of maps and lists within each other
	maxValues  = 500_000  // values after aliases have been expanded
	maxText    = 64 << 20 // bytes of texts after aliases and variables have been expanded
)

// parser turns files into one tree.
type parser struct {
	report *report
	read   func(path string) ([]byte, error)
	sub    *substituter
	values int
	bytes  int
	files  []string
	depth  int
	chain  []string // files being read, each including the next
}

// tree reads a file and what it includes, and returns its top-level map, nil
// where there is none.
func (p *parser) tree(path string, data []byte) *value {
	p.report.file(path)
	p.files = append(p.files, path)
	p.chain = append(p.chain, filepath.Clean(path))
	defer func() { p.chain = p.chain[:len(p.chain)-1] }()

	root := p.parse(path, data)
	if root == nil {
		return nil
	}
	return p.include(path, root)
}

// parse reads one document.
func (p *parser) parse(path string, data []byte) (root *value) {
	if len(data) > maxFile {
		p.report.errorf(Pos{File: path}, "", fmt.Sprintf("at most %d MiB", maxFile>>20), "the file has %d bytes", len(data))
		return nil
	}
	defer func() { // the YAML library panics on some malformed input
		if r := recover(); r != nil {
			p.report.errorf(Pos{File: path}, "", "", "cannot be read as YAML")
			root = nil
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		return &value{is: mapping, at: Pos{File: path, Line: 1}}
	case err != nil:
		p.syntax(path, err)
		return nil
	}
	if err := dec.Decode(&second); err == nil {
		p.report.errorf(Pos{path, second.Line}, "", "one document in a file", "a second document begins here")
	}
	if len(doc.Content) == 0 {
		return &value{is: mapping, at: Pos{File: path, Line: 1}}
	}
	root = p.value(path, "", doc.Content[0])
	switch root.is {
	case mapping:
		return root
	case null:
		return &value{is: mapping, at: root.at}
	default:
		p.report.errorf(root.at, "", "a map with sections such as model_list and general_settings", "the file holds %s", root.is)
		return nil
	}
}

var yamlLine = regexp.MustCompile(`^line (\d+): (.*)$`)

// syntax reports an error of the YAML reader, which may hold several lines.
func (p *parser) syntax(path string, err error) {
	for message := range strings.Lines(strings.TrimPrefix(err.Error(), "yaml: ")) {
		at := Pos{File: path}
		message = strings.TrimSpace(message)
		if m := yamlLine.FindStringSubmatch(message); m != nil {
			at.Line, _ = strconv.Atoi(m[1])
			message = m[2]
		}
		p.report.errorf(at, "", "", "not valid YAML: %s", strings.ToValidUTF8(message, "\ufffd"))
	}
}

// value converts a node. path is that of the key, for problems.
func (p *parser) value(file, path string, n *yaml.Node) *value {
	at := Pos{file, n.Line}
	p.values++
	p.bytes += len(n.Value)
	if p.values > maxValues || p.depth > maxDepth || p.bytes > maxText {
		p.report.errorf(Pos{File: file}, "", fmt.Sprintf("%d values, %d within each other, %d MiB of text", maxValues, maxDepth, maxText>>20), "too many values; aliases count each time")
		return &value{at: at}
	}
	p.depth++
	defer func() { p.depth-- }()

	switch n.Kind {
	case yaml.AliasNode:
		return p.value(file, path, n.Alias)
	case yaml.SequenceNode:
		out := &value{is: list, at: at}
		for i, item := range n.Content {
			if p.values > maxValues {
				break
			}
			out.items = append(out.items, p.value(file, fmt.Sprintf("%s[%d]", path, i), item))
		}
		return out
	case yaml.MappingNode:
		return p.mapping(file, path, n)
	default:
		return p.scalar(at, path, n)
	}
}

// mapping converts a map. Keys that stand twice are refused; "<<" brings in
// what the map does not have itself.
func (p *parser) mapping(file, path string, n *yaml.Node) *value {
	out := &value{is: mapping, at: Pos{file, n.Line}}
	lines := map[string]int{}
	var merged []*value
	for i := 0; i+1 < len(n.Content) && p.values <= maxValues; i += 2 {
		key, at := n.Content[i], Pos{file, n.Content[i].Line}
		for key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			p.report.errorf(at, path, "text", "a key is a map or a list")
			continue
		}
		if key.Tag == "!!merge" {
			merged = append(merged, p.merged(file, path, n.Content[i+1])...)
			continue
		}
		if line, twice := lines[key.Value]; twice {
			p.report.errorf(at, join(path, key.Value), "each key once", "stands twice, first in line %d", line)
			continue
		}
		lines[key.Value] = at.Line
		out.entries = append(out.entries, entry{key.Value, at, p.value(file, join(path, key.Value), n.Content[i+1])})
	}
	for _, m := range merged {
		for _, e := range m.entries {
			if _, have := lines[e.name]; !have {
				lines[e.name] = e.at.Line
				out.entries = append(out.entries, e)
			}
		}
	}
	return out
}

// merged returns the maps that a "<<" names.
func (p *parser) merged(file, path string, n *yaml.Node) []*value {
	v := p.value(file, path, n)
	from := []*value{v}
	if v.is == list {
		from = v.items
	}
	var out []*value
	for _, m := range from {
		if m.is == mapping {
			out = append(out, m)
		} else {
			p.report.errorf(m.at, join(path, "<<"), "a map or a list of maps", "is %s", m.is)
		}
	}
	return out
}

// scalar converts a scalar and substitutes variables in texts.
func (p *parser) scalar(at Pos, path string, n *yaml.Node) *value {
	v := &value{is: text, text: n.Value, at: at}
	switch n.ShortTag() {
	case "!!null":
		v.is = null
		return v
	case "!!bool":
		v.is = boolean
		v.on = strings.EqualFold(n.Value, "true")
		return v
	case "!!int":
		v.is = integer
		if wholeText(n.Value) == "0" && strings.Trim(n.Value, "+-0_xob") != "" {
			v.is = number // too large for a whole number
		}
		return v
	case "!!float":
		v.is = number
		return v
	}
	if n.Style == 0 && n.Tag == "!!str" {
		// YAML 1.1, which the files were written for, has these as truth values.
		switch n.Value {
		case "yes", "Yes", "YES", "on", "On", "ON":
			v.is, v.on = boolean, true
			return v
		case "no", "No", "NO", "off", "Off", "OFF":
			v.is = boolean
			return v
		}
	}
	p.sub.apply(v, path)
	p.bytes += len(v.text)
	return v
}

// include reads the files of the "include" list: their lists are appended to
// ours, whatever else they hold replaces ours.
func (p *parser) include(path string, root *value) *value {
	names := root.get("include")
	if names == nil {
		return root
	}
	items := names.items
	if names.is == text {
		items = []*value{names}
	} else if names.is != list {
		p.report.errorf(names.at, "include", "a list of paths", "is %s", names.is)
		return root
	}
	out := &value{is: mapping, at: root.at}
	for _, e := range root.entries {
		if e.name != "include" {
			out.entries = append(out.entries, e)
		}
	}
	for _, item := range items {
		if item.is != text || item.text == "" {
			p.report.errorf(item.at, "include", "a path, relative to this file", "is %s", item.is)
			continue
		}
		if part := p.included(path, item); part != nil {
			p.overlay(out, part)
		}
	}
	return out
}

// included reads one included file.
func (p *parser) included(path string, item *value) *value {
	name := item.text
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(path), name)
	}
	for _, parent := range p.chain {
		if parent == filepath.Clean(name) {
			p.report.errorf(item.at, "include", "files that do not include each other in a circle", "%s includes itself", quote(item.text))
			return nil
		}
	}
	if len(p.chain) >= maxInclude || len(p.files) >= maxFiles {
		p.report.errorf(item.at, "include", fmt.Sprintf("%d deep, %d files in all", maxInclude, maxFiles), "too many included files")
		return nil
	}
	data, err := p.read(name)
	if err != nil {
		p.report.errorf(item.at, "include", "a file that exists and can be read", "%s", fileError(err))
		return nil
	}
	return p.tree(name, data)
}

// overlay puts another top-level map over v. LiteLLM replaces whole sections without
// a word, and half of a configuration is gone.
func (p *parser) overlay(v, other *value) {
	for _, e := range other.entries {
		found := false
		for i := range v.entries {
			mine := &v.entries[i]
			if mine.name != e.name {
				continue
			}
			found = true
			if mine.value.is == list && e.value.is == list {
				both := *mine.value
				both.items = append(append([]*value{}, mine.value.items...), e.value.items...)
				mine.value = &both
			} else {
				p.report.warnf(mine.at, e.name, "has no effect: %s has it too, and replaces it as a whole", e.at)
				*mine = e
			}
		}
		if !found {
			v.entries = append(v.entries, e)
		}
	}
}
