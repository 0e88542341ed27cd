package boot

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
)

// ForgetStart gives back the pages of the program's own code that were mapped
// while it started: most of them hold initialisation, and the kernel maps
// neighbours along with each page that is used. Code is read-only and comes
// back from the page cache when it runs again (madvise(2), MADV_DONTNEED), so
// this changes nothing but the resident set. Call it once, when the program
// serves.
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
		if len(fields) < 6 || string(fields[1]) != "r-xp" || string(fields[5]) != exe {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(string(fields[0]), "%x-%x", &from, &to); err != nil {
			continue
		}
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED)
	}
}
