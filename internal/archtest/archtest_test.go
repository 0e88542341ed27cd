package archtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "sluice"

// pkg is what `go list` says of one package.
type pkg struct {
	ImportPath, Name, Dir, Doc string
	Imports                    []string
	GoFiles                    []string
}

// name is the package's path inside the module.
func (p *pkg) name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// packages lists the module, for both the product and its known-bad variant.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Dir,Doc,Imports,GoFiles", "./...")
	cmd.Dir = root(t)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		name := p.name()
		allowed, ok := mayImport[name]
		if !ok {
			t.Errorf("%s: not in mayImport; add it there and to ARCHITECTURE.md", name)
			continue
		}
		seen[name] = true
		for _, imp := range p.Imports {
			dep, inside := strings.CutPrefix(imp, module+"/")
			if inside && allowed != "*" && !slices.Contains(strings.Fields(allowed), dep) {
				t.Errorf("%s imports %s, which mayImport does not allow", name, dep)
			}
		}
		if slices.Contains(stdOnly, name) {
			for _, imp := range p.Imports {
				if strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
					t.Errorf("%s imports %s: a contract imports the standard library only", name, imp)
				}
			}
		}
	}
	for name := range mayImport {
		if !seen[name] {
			t.Errorf("%s: in mayImport, not in the tree", name)
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s: no package comment", p.name())
		}
	}
}

// What only one program needs belongs to that program.
func TestInternalIsShared(t *testing.T) {
	users := map[string]int{}
	for _, program := range programs {
		out, err := exec.Command("go", "list", "-deps", module+"/"+program).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", program, err)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			users[strings.TrimPrefix(dep, module+"/")]++
		}
	}
	for name := range mayImport {
		if strings.HasPrefix(name, "internal/") && !slices.Contains(testSupport, name) && users[name] < 2 {
			t.Errorf("%s is used by %d program(s): move it to the one that needs it", name, users[name])
		}
	}
}

// Test support never ends up in a program.
func TestProgramsLinkNoTestSupport(t *testing.T) {
	for _, program := range programs {
		out, err := exec.Command("go", "list", "-deps", module+"/"+program).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", program, err)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			name := strings.TrimPrefix(dep, module+"/")
			if dep == "testing" || slices.Contains(testSupport, name) || strings.HasPrefix(name, "benchmarks/") {
				t.Errorf("%s links %s", program, dep)
			}
			if program != "proxy" && strings.HasPrefix(dep, "github.com/valyala/fasthttp") {
				t.Errorf("%s links %s: only the proxy speaks through fasthttp", program, dep)
			}
		}
	}
}

func TestFileSizes(t *testing.T) {
	const most = 500
	for _, p := range packages(t) {
		for _, file := range p.GoFiles {
			b, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if generated(b) {
				continue
			}
			if n := bytes.Count(b, []byte{'\n'}); n > most {
				t.Errorf("%s/%s: %d lines, at most %d: it is about two nouns", p.name(), file, n, most)
			}
		}
	}
}

func generated(b []byte) bool {
	head, _, _ := bytes.Cut(b, []byte("\npackage "))
	return bytes.Contains(head, []byte("// Code generated ")) && bytes.Contains(head, []byte("DO NOT EDIT."))
}

// tracked lists the files that git knows or would add.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var files []string
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		files = append(files, s.Text())
	}
	return files
}

func TestDocumentsNameEveryFolder(t *testing.T) {
	folders := map[string]bool{}
	for _, f := range tracked(t) {
		if top, _, inside := strings.Cut(f, "/"); inside && !strings.HasPrefix(top, ".") {
			folders[top] = true
		}
	}
	for _, doc := range []string{"README.md", "ARCHITECTURE.md"} {
		b, err := os.ReadFile(filepath.Join(root(t), doc))
		if err != nil {
			t.Fatal(err)
		}
		for folder := range folders {
			if !bytes.Contains(b, []byte(folder+"/")) {
				t.Errorf("%s does not mention %s/", doc, folder)
			}
		}
	}
}

func TestArchitectureNamesEveryPackage(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root(t), "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range mayImport {
		last := name[strings.LastIndexByte(name, '/')+1:]
		if !bytes.Contains(b, []byte(last+"/")) {
			t.Errorf("ARCHITECTURE.md does not mention %s (as %s/)", name, last)
		}
	}
}

// A clone builds and tests anywhere: nothing names a path of one machine.
func TestNoMachinePaths(t *testing.T) {
	bad := []string{"/wo" + "rk/", "/ho" + "me/", "/ro" + "ot/", ".." + "/shared", "/Us" + "ers/"}
	for _, f := range tracked(t) {
		if strings.HasPrefix(f, "image/vm/tree/") {
			continue // files of the machine that is made, which has paths of its own
		}
		b, err := os.ReadFile(filepath.Join(root(t), f))
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		for _, s := range bad {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s: names %s", f, s)
			}
		}
	}
}

func TestStyle(t *testing.T) {
	for _, p := range packages(t) {
		for _, file := range p.GoFiles {
			b, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"TO" + "DO", "FIX" + "ME"} {
				if bytes.Contains(b, []byte(word)) {
					t.Errorf("%s/%s: holds %s; do it or write an issue", p.name(), file, word)
				}
			}
			switch strings.TrimSuffix(file, ".go") {
			case "util", "utils", "common", "helpers", "types", "base", "manager", "misc":
				t.Errorf("%s/%s: a file is named after the noun that it holds", p.name(), file)
			}
		}
	}
}
