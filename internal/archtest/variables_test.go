package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// unwritten are variables of ours that operators do not set: the supervisor hands
// them to its children, or tests do.
var unwritten = map[string]bool{
	"SLUICE_CONTROL": true, "SLUICE_ENVIRON_FD": true, "SLUICE_GENERATION": true, "SLUICE_INHERITED_FD": true, "SLUICE_LOG_FD": true,
	"SLUICE_MEMORY_SCORE": true, "SLUICE_PROGRESS_FD": true, "SLUICE_SLOT": true, "SLUICE_SLOTS": true, "SLUICE_RECYCLE_AFTER": true,
	"SLUICE_ORPHAN_DRAIN": true,
	// What LiteLLM's flags of a model without a file become on their way to workers.
	"SLUICE_MODEL": true, "SLUICE_MODEL_ALIAS": true, "SLUICE_MODEL_API_BASE": true, "SLUICE_MODEL_API_VERSION": true,
	"SLUICE_MODEL_MAX_TOKENS": true, "SLUICE_MODEL_TEMPERATURE": true,
}

// TestVariablesWrittenDown: docs name every variable and every flag of the supervisor
// that an operator may set, and no variable that nothing reads.
func TestVariablesWrittenDown(t *testing.T) {
	name := regexp.MustCompile(`\bSLUICE_[A-Z_]*[A-Z]\b`)
	read := map[string]bool{}
	for _, dir := range append([]string{"internal/boot", "internal/env", "internal/postgres", "internal/certificate"}, programs...) {
		walk(t, dir, ".go", func(path, text string) {
			if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "bad.go") {
				return
			}
			for _, quoted := range regexp.MustCompile(`"SLUICE_[A-Z_]*[A-Z]"`).FindAllString(text, -1) {
				read[strings.Trim(quoted, `"`)] = true
			}
		})
	}
	var docs strings.Builder
	written := map[string]string{}
	walk(t, "docs", ".md", func(path, text string) {
		docs.WriteString(text)
		for _, v := range name.FindAllString(text, -1) {
			written[v] = path
		}
	})
	for v := range read {
		if !unwritten[v] && written[v] == "" && written[v+"_FILE"] == "" && !strings.HasPrefix(v, "SLUICE_TEST_") {
			t.Errorf("the programs read %s, and no page of docs names it", v)
		}
	}
	for v, path := range written {
		if !read[v] && !read[strings.TrimSuffix(v, "_FILE")] && !strings.HasPrefix(v, "SLUICE_TEST_") {
			t.Errorf("%s names %s, which no program reads", path, v)
		}
	}
	flags, err := os.ReadFile(filepath.Join(root(t), "supervisor", "flags.go"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(flags)) {
		flag := regexp.MustCompile("name:\"([a-z_]+)\"").FindStringSubmatch(line)
		if flag != nil && !strings.Contains(line, "hidden:") && !strings.Contains(docs.String(), "--"+flag[1]) {
			t.Errorf("the supervisor takes --%s, and no page of docs names it", flag[1])
		}
	}
}

// walk calls see with the path and the text of each file below dir whose name ends so.
func walk(t *testing.T, dir, ext string, see func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root(t), dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ext {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil {
			see(path, string(b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
