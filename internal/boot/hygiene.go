package boot

import (
	"fmt"

	"golang.org/x/sys/unix"

	"sluice/internal/env"
)

// allowDumps is the variable that lets a process be dumped and traced, for
// whoever looks for a defect.
const allowDumps = "SLUICE_ALLOW_CORE_DUMPS"

// seclude keeps what is in the memory of this process inside it: it leaves no
// core, neither as a file nor through a pipe of core_pattern, which the limit
// alone would not stop; and no other process of the same user may trace it or
// read its /proc entries environ, mem and fd. Every program does this for
// itself, because an exec undoes half of it.
func seclude(e *env.Environ) error {
	allowed, err := e.Bool(allowDumps, false)
	if err != nil || allowed {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w; %s=true starts without", err, allowDumps)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid core dumps: %w; %s=true starts without", err, allowDumps)
	}
	return nil
}
