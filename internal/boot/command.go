package boot

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The command line is described by a struct, as [Process.Parse] says. It is read
// here, and not by a library, for one reason: a library that calls methods by
// name keeps every exported method of every type in the program, which was 20 MB
// of 85 MB over the four programs.

// command is a program or one of its commands.
type command struct {
	name, help string
	hidden     bool
	parent     *command
	flags      []*option
	args       []*option
	children   []*command
	otherwise  *command // what runs where no child is named
	withArgs   bool     // … and whose flags may then be given
}

// option is a flag, or an argument without a name.
type option struct {
	name, help, placeholder, def, secret string
	short                                byte // 0: none
	hidden, required                     bool
	enum                                 []string // nil: any value
	to                                   reflect.Value
	given                                bool
}

// Command is what a command line asked for.
type Command struct {
	chosen *command
}

// Command names the chosen command with those above it and the arguments that
// it was given: "status", "secrets retire <id>".
func (c *Command) Command() string {
	var words []string
	for at := c.chosen; at.parent != nil; at = at.parent {
		words = append(words, at.name)
	}
	slices.Reverse(words)
	for _, a := range c.chosen.args {
		if a.given {
			words = append(words, "<"+a.name+">")
		}
	}
	return strings.Join(words, " ")
}

// describe reads the fields of a struct into a command.
func (c *command) describe(v reflect.Value) error {
	for i := range v.NumField() {
		field, to := v.Type().Field(i), v.Field(i)
		_, isCommand := field.Tag.Lookup("cmd")
		switch {
		case field.Anonymous && field.Type.Kind() == reflect.Struct && !isCommand:
			if err := c.describe(to); err != nil {
				return err
			}
		case !field.IsExported():
		case isCommand:
			if err := c.describeChild(field, to); err != nil {
				return err
			}
		default:
			if err := c.describeOption(field, to); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *command) describeChild(field reflect.StructField, to reflect.Value) error {
	_, hidden := field.Tag.Lookup("hidden")
	child := &command{name: nameOf(field), help: field.Tag.Get("help"), hidden: hidden, parent: c}
	if err := child.describe(to); err != nil {
		return err
	}
	c.children = append(c.children, child)
	if def := field.Tag.Get("default"); def != "" {
		c.otherwise, c.withArgs = child, def == "withargs"
	}
	return nil
}

func (c *command) describeOption(field reflect.StructField, to reflect.Value) error {
	tag := field.Tag
	_, hidden := tag.Lookup("hidden")
	_, required := tag.Lookup("required")
	o := &option{
		name: nameOf(field), help: tag.Get("help"), placeholder: tag.Get("placeholder"), def: tag.Get("default"), secret: tag.Get(secretTag),
		hidden: hidden, required: required, to: to,
	}
	if !settable(to) {
		return fmt.Errorf("%s: no flag can be a %s", o.name, to.Type())
	}
	if short := tag.Get("short"); short != "" {
		o.short = short[0]
	}
	if enum := tag.Get("enum"); enum != "" {
		o.enum = strings.Split(enum, ",")
	}
	if o.def != "" {
		if err := o.set(o.def); err != nil {
			return fmt.Errorf("default of %s: %w", o.name, err)
		}
	}
	if _, ok := tag.Lookup("arg"); ok {
		_, optional := tag.Lookup("optional")
		o.required = !optional
		c.args = append(c.args, o)
		return nil
	}
	c.flags = append(c.flags, o)
	return nil
}

// nameOf is the name that a tag gives, or that of the field: StateDir is
// state-dir.
func nameOf(field reflect.StructField) string {
	if name := field.Tag.Get("name"); name != "" {
		return name
	}
	var b strings.Builder
	for i, r := range field.Name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 && (field.Name[i-1] < 'A' || field.Name[i-1] > 'Z') {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (o *option) isBool() bool { return o.to.Kind() == reflect.Bool }

// set takes one value from its text; a list grows by it.
func (o *option) set(text string) error {
	if o.enum != nil && !slices.Contains(o.enum, text) {
		return fmt.Errorf("%q is not one of %s", text, strings.Join(o.enum, ", "))
	}
	to := o.to
	if to.Kind() == reflect.Pointer {
		to = reflect.New(to.Type().Elem()).Elem()
	}
	if err := setValue(to.Addr().Interface(), text); err != nil {
		return err
	}
	if o.to.Kind() == reflect.Pointer {
		o.to.Set(to.Addr())
	}
	return nil
}

// setValue takes a value in from its text.
func setValue(to any, text string) error {
	switch to := to.(type) {
	case *string:
		*to = text
	case *[]string:
		*to = append(*to, text)
	case *bool:
		switch strings.ToLower(text) {
		case "true", "1", "yes":
			*to = true
		case "false", "0", "no":
			*to = false
		default:
			return fmt.Errorf("%q is neither true nor false", text)
		}
	case *int:
		n, err := strconv.ParseInt(text, 0, strconv.IntSize)
		if err != nil {
			return fmt.Errorf("%q is no whole number", text)
		}
		*to = int(n)
	case *float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", text)
		}
		*to = f
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration, such as 10s", text)
		}
		*to = d
	}
	return nil
}

// settable reports whether setValue knows the type of a field, or what it points
// to. Of a flag that is on or off there is no pointer: it has no value behind it.
func settable(v reflect.Value) bool {
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		if t = t.Elem(); t.Kind() == reflect.Bool {
			return false
		}
	}
	switch reflect.New(t).Interface().(type) {
	case *string, *[]string, *bool, *int, *float64, *time.Duration:
		return true
	}
	return false
}

// take is set for what the command line gives.
func (o *option) take(as, text string) error {
	if !o.given && o.to.Kind() == reflect.Slice {
		o.to.SetZero() // not the default besides
	}
	o.given = true
	if err := o.set(text); err != nil {
		return fmt.Errorf("%s: %w", as, err)
	}
	return nil
}

// errHelp and errVersion leave the scan where these were asked for.
var (
	errHelp    = errors.New("help")
	errVersion = errors.New("version")
)

// scan is a command line under way.
type scan struct {
	at     *command
	args   []string // that are left
	taken  int      // arguments of at that were given
	meant  bool     // at was not named, it is the one that is meant then
	closed bool     // behind "--"
}

// parse reads the arguments from the program on and returns what they chose,
// with errHelp the command whose help is wanted.
func parse(root *command, args []string) (*command, error) {
	s := &scan{at: root, args: args}
	for len(s.args) > 0 {
		arg := s.args[0]
		s.args = s.args[1:]
		var err error
		switch {
		case s.closed || arg == "-" || !strings.HasPrefix(arg, "-"):
			err = s.word(arg)
		case arg == "--":
			s.closed = true
		case strings.HasPrefix(arg, "--"):
			err = s.long(arg)
		default:
			err = s.short(arg)
		}
		if err != nil {
			return s.at, err
		}
	}
	for s.at.otherwise != nil {
		s.at = s.at.otherwise
	}
	return s.at, s.complete()
}

// word is a command's name or an argument.
func (s *scan) word(arg string) error {
	if s.meant { // "--strict run": its flags came before its name
		s.meant = false
		if s.at.name == arg {
			return nil
		}
		if s.at.parent.child(arg) != nil {
			return fmt.Errorf("%q comes after flags of %q: write it before them", arg, s.at.name)
		}
	}
	if child := s.at.child(arg); child != nil {
		s.at = child
		return nil
	}
	if n := len(s.at.args); n > 0 {
		o := s.at.args[min(s.taken, n-1)]
		if s.taken < n || o.to.Kind() == reflect.Slice {
			s.taken++
			return o.take("<"+o.name+">", arg)
		}
	}
	if s.descend() {
		return s.word(arg)
	}
	if len(s.at.children) > 0 {
		return fmt.Errorf("unexpected argument %q, expected one of %s", arg, s.at.names())
	}
	return fmt.Errorf("unexpected argument %q", arg)
}

// descend goes on to the command that is meant where none is named.
func (s *scan) descend() bool {
	if s.at.otherwise == nil || !s.at.withArgs {
		return false
	}
	s.at, s.meant = s.at.otherwise, true
	return true
}

// child is the command of that name below c, nil where there is none.
func (c *command) child(name string) *command {
	for _, child := range c.children {
		if child.name == name {
			return child
		}
	}
	return nil
}

// find looks for a flag of the command, of those above it, and of the one that
// is meant where none is named.
func (s *scan) find(is func(*option) bool) *option {
	for {
		for c := s.at; c != nil; c = c.parent {
			if i := slices.IndexFunc(c.flags, is); i >= 0 {
				return c.flags[i]
			}
		}
		if !s.descend() {
			return nil
		}
	}
}

func (s *scan) long(arg string) error {
	name, value, joined := strings.Cut(arg[2:], "=")
	switch {
	case name == "help" && !joined:
		return errHelp
	case name == "version" && !joined:
		return errVersion
	}
	began := s.at
	o := s.find(func(o *option) bool { return o.name == name })
	switch {
	case o == nil:
		return fmt.Errorf("unknown flag --%s%s", name, began.similar(name))
	case joined:
		return o.take("--"+name, value)
	case o.isBool():
		return o.take("--"+name, "true")
	}
	return s.value(o, "--"+name)
}

// short is one letter with its value behind it, or several without values.
func (s *scan) short(arg string) error {
	for i := 1; i < len(arg); i++ {
		letter := arg[i]
		as := "-" + string(letter)
		o := s.find(func(o *option) bool { return o.short == letter })
		switch rest := arg[i+1:]; {
		case o == nil && letter == 'h':
			return errHelp
		case o == nil:
			return fmt.Errorf("unknown flag %s", as)
		case o.isBool():
			if err := o.take(as, "true"); err != nil {
				return err
			}
		case rest != "":
			return o.take(as, strings.TrimPrefix(rest, "="))
		default:
			return s.value(o, as)
		}
	}
	return nil
}

// value takes the next argument for a flag. One that looks like a flag is none:
// somebody has forgotten the value.
func (s *scan) value(o *option, as string) error {
	if len(s.args) == 0 {
		return fmt.Errorf("%s: a value is missing", as)
	}
	next := s.args[0]
	if len(next) > 1 && next[0] == '-' && (next[1] < '0' || next[1] > '9') {
		return fmt.Errorf("%s: a value is missing before %s; write %s=VALUE where it begins with a hyphen", as, flagOnly(next), as)
	}
	s.args = s.args[1:]
	return o.take(as, next)
}

// flagOnly is a flag without a value that may be a secret.
func flagOnly(arg string) string {
	name, _, _ := strings.Cut(arg, "=")
	return name
}

// complete says what the chosen command lacks.
func (s *scan) complete() error {
	if len(s.at.children) > 0 {
		return fmt.Errorf("expected one of %s", s.at.names())
	}
	for c := s.at; c != nil; c = c.parent {
		for _, o := range c.flags {
			if o.required && !o.given {
				return fmt.Errorf("missing flag --%s=%s", o.name, o.placeholder)
			}
		}
	}
	for _, o := range s.at.args {
		if o.required && !o.given {
			return fmt.Errorf("missing argument <%s>", o.name)
		}
	}
	return nil
}

// names are the commands that may be given, quoted.
func (c *command) names() string {
	var names []string
	for _, child := range c.children {
		if !child.hidden {
			names = append(names, strconv.Quote(child.name))
		}
	}
	return strings.Join(names, ", ")
}
