package boot

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"unsafe"
)

// secretTag marks a flag whose value is a secret. Its content says what to do
// instead, as in `secret:"set DATABASE_URL_FILE"`.
const secretTag = "secret"

// arguments are those of this process as it may go on using them: os.Args
// itself lies in the memory that the process listing shows.
func arguments() []string {
	out := make([]string, 0, len(os.Args))
	for _, arg := range os.Args[1:] {
		out = append(out, strings.Clone(arg))
	}
	return out
}

// secretFlags returns the flags that hold secrets, of the command that the
// arguments name and of those above it: what to do instead of each, by its name
// with the dashes. Another command may have a flag of the same name that is no
// secret.
func secretFlags(root *command, args []string) map[string]string {
	out := map[string]string{}
	add := func(node *command) {
		for _, f := range node.flags {
			if f.secret == "" {
				continue
			}
			out["--"+f.name] = f.secret
			if f.short != 0 {
				out["-"+string(f.short)] = f.secret
			}
		}
	}
	node := root
	add(node)
	for _, arg := range args {
		for _, child := range node.children {
			if child.name == arg {
				node = child
				add(node)
				break
			}
		}
	}
	for node.otherwise != nil {
		node = node.otherwise
		add(node)
	}
	return out
}

// secretArgument is one argument that holds a secret.
type secretArgument struct {
	index, from int    // the argument, and where in it the secret begins
	flag        string // as it was written
}

// secretArguments finds the values of secret flags, as --flag=value, --flag
// value or -fvalue. A value that a flag lacks is no matter: the parser says so.
func secretArguments(args []string, secret map[string]string) (found []secretArgument) {
	for i := 0; i < len(args); i++ {
		name, _, joined := strings.Cut(args[i], "=")
		switch _, ok := secret[name]; {
		case args[i] == "--":
			return found
		case ok && joined:
			found = append(found, secretArgument{i, len(name) + 1, name})
		case ok && i+1 < len(args):
			i++
			found = append(found, secretArgument{i, 0, name})
		case !ok && len(name) > 2 && name[0] == '-' && name[1] != '-' && secret[name[:2]] != "":
			found = append(found, secretArgument{i, 2, name[:2]})
		}
	}
	return found
}

// hide makes secrets on the command line unreadable to whoever lists processes,
// by overwriting them where the kernel put them, and says once what to do
// instead. Public has the arguments without those flags from then on.
func (p *Process) hide(secret map[string]string) {
	drop := map[int]bool{}
	var names, instead []string
	for _, f := range secretArguments(p.Args, secret) {
		// A test has arguments that are not those of its process.
		if i := f.index + 1; len(os.Args) == len(p.Args)+1 && os.Args[i] == p.Args[f.index] {
			overwrite(os.Args[i][f.from:])
		}
		drop[f.index] = true
		if f.from == 0 {
			drop[f.index-1] = true
		}
		if !slices.Contains(names, f.flag) {
			names, instead = append(names, f.flag), append(instead, secret[f.flag])
		}
	}
	p.Public = nil
	for i, arg := range p.Args {
		if !drop[i] {
			p.Public = append(p.Public, arg)
		}
	}
	if len(names) > 0 {
		_, _ = fmt.Fprintf(p.Stderr, "%s: warning: a secret on the command line is shown to whoever lists processes, until it is read: instead of %s, %s; see docs/secrets.md\n",
			p.Program, strings.Join(names, ", "), strings.Join(slices.Compact(instead), ", "))
	}
}

// overwrite writes over the memory of an argument of the process. Strings of Go
// are not to be changed, but those of os.Args are made without a copy over the
// memory in which execve left them, which is writable.
func overwrite(arg string) {
	if arg == "" {
		return
	}
	memory := unsafe.Slice(unsafe.StringData(arg), len(arg))
	for i := range memory {
		memory[i] = 'x'
	}
}
