package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// exact are the packages that amounts of money pass through from the table of
// prices to the database: nothing in them is counted in floating point.
var exact = strings.Fields("proxy/money proxy/price proxy/bill proxy/budget proxy/journal proxy/ledger proxy/usage proxy/window")

// floating are the names that stand for it, in the language and in the standard
// library.
func floating(name string) bool {
	return strings.HasPrefix(name, "float32") || strings.HasPrefix(name, "float64") || strings.HasPrefix(name, "complex") ||
		strings.HasPrefix(name, "Float") || name == "ParseFloat" || name == "FormatFloat" || name == "AppendFloat"
}

// TestNoFloatInMoney: no type, literal or function of floating point.
func TestNoFloatInMoney(t *testing.T) {
	for _, dir := range exact {
		files := 0
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
				d.Name() == "metrics.go" { // the library of metrics takes nothing else
				return err
			}
			files++
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.Ident:
					if floating(n.Name) {
						t.Errorf("%s: %s: amounts are whole numbers", set.Position(n.Pos()), n.Name)
					}
				case *ast.BasicLit:
					if n.Kind == token.FLOAT || n.Kind == token.IMAG {
						t.Errorf("%s: %s: amounts are whole numbers", set.Position(n.Pos()), n.Value)
					}
				}
				return true
			})
			return nil
		})
		if err != nil || files == 0 {
			t.Errorf("%s: %d files, %v", dir, files, err)
		}
	}
}
