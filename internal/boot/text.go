package boot

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// ForgetStart gives back the pages of the program's own code and constants that
// were mapped while it started: most of them hold initialisation, and the
// kernel maps neighbours along with each page that is used. Both are read-only
// and come back from the page cache when they are used again (madvise(2),
// MADV_DONTNEED), so this changes nothing but the resident set. Call it when
// the program serves.
func ForgetStart() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		fields := bytes.Fields(line)
		if len(fields) < 6 || string(fields[5]) != exe {
			continue
		}
		if mode := string(fields[1]); mode != "r-xp" && mode != "r--p" {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(string(fields[0]), "%x-%x", &from, &to); err != nil {
			continue
		}
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED)
	}
}
