package boot

import (
	"fmt"
	"io"
	"strings"
)

// visible are the flags that may be given to a command and are shown: its own,
// those above it, and those of the command that is meant where none is named.
func (c *command) visible() []*option {
	var out []*option
	add := func(c *command) {
		for _, o := range c.flags {
			if !o.hidden {
				out = append(out, o)
			}
		}
	}
	for at := c; at != nil; at = at.parent {
		add(at)
	}
	for at := c; at.otherwise != nil && at.withArgs; {
		at = at.otherwise
		add(at)
	}
	return out
}

// similar names the flag that was perhaps meant, as an addition to an error.
func (c *command) similar(name string) string {
	plain := strings.NewReplacer("-", "", "_", "")
	for _, o := range c.visible() {
		a, b := plain.Replace(o.name), plain.Replace(name)
		if a == b || len(b) > 3 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
			return ", did you mean --" + o.name + "?"
		}
	}
	return ""
}

// writeHelp prints what a command does and takes.
func (c *command) writeHelp(w io.Writer, description string) error {
	path, root := c.name, c
	for ; root.parent != nil; root = root.parent {
		path = root.parent.name + " " + path
	}
	for _, a := range c.args {
		form := "<" + a.name + ">"
		if !a.required {
			form = "[" + form + "]"
		}
		path += " " + form
	}
	if len(c.children) > 0 {
		path += map[bool]string{true: " [<command>]", false: " <command>"}[c.otherwise != nil]
	}
	if c.parent != nil {
		description = c.help
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s [flags]\n\n%s\n", path, wrap(description, 0))
	if len(c.args) > 0 {
		b.WriteString("\nArguments:\n")
		for _, a := range c.args {
			row(&b, "<"+a.name+">", a.help)
		}
	}
	b.WriteString("\nFlags:\n")
	row(&b, "-h, --help", "Print this and exit.")
	row(&b, "    --version", "Print the version and exit.")
	for _, o := range c.visible() {
		row(&b, o.form(), o.help)
	}
	if len(c.children) > 0 {
		b.WriteString("\nCommands:\n")
		for _, child := range c.children {
			if !child.hidden {
				row(&b, child.name, child.help)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// form is how a flag is written: "-c, --config=FILE".
func (o *option) form() string {
	text := "    --" + o.name
	if o.short != 0 {
		text = "-" + string(o.short) + ", --" + o.name
	}
	switch {
	case o.isBool():
	case o.def != "":
		text += "=" + o.def
	case o.placeholder != "":
		text += "=" + o.placeholder
	default:
		text += "=VALUE"
	}
	return text
}

// row is one line of a table, and more where the text is long.
func row(b *strings.Builder, left, right string) {
	const column = 34
	if len(left)+2 >= column-1 {
		fmt.Fprintf(b, "  %s\n%*s%s\n", left, column, "", wrap(right, column))
		return
	}
	fmt.Fprintf(b, "  %-*s%s\n", column-2, left, wrap(right, column))
}

// wrap breaks a text into lines of up to 100 bytes, all but the first indented.
func wrap(text string, indent int) string {
	const width = 100
	var b strings.Builder
	used := indent
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case used+1+len(word) > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			used = indent
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += len(word)
	}
	return b.String()
}
