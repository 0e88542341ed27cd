package config

import (
	"fmt"
	"io"
)

// Check loads a configuration, writes everything that is wrong with it to w,
// one problem a line, and then a line that sums up. It returns the errors as
// one, nil where the configuration can be served.
func Check(w io.Writer, src Source) error {
	f, problems := Load(src)
	if _, err := io.WriteString(w, problems.String()); err != nil {
		return fmt.Errorf("write the problems: %w", err)
	}
	errors, warnings, notes := len(problems.Of(Error)), len(problems.Of(Warning)), len(problems.Of(Note))
	var err error
	if f == nil {
		_, err = fmt.Fprintf(w, "not usable: %d errors, %d warnings\n", errors, warnings)
	} else {
		_, err = fmt.Fprintf(w, "usable: %d deployments, %d warnings, %d keys without effect in this release\n", len(f.Models), warnings, notes)
	}
	if err != nil {
		return fmt.Errorf("write the problems: %w", err)
	}
	return problems.Err()
}
