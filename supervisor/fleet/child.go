package fleet

import (
	"os"
	"strconv"
	"syscall"
)

// EnvLogFD names the descriptor that a child logs to: a copy of the
// supervisor's standard error, which outlives the supervisor.
const EnvLogFD = "SLUICE_LOG_FD"

// outlives is what a child of the supervisor has to do before anything else,
// on its main thread: package initialisation runs there.
var outlives = outliveParent()

// Outlives reports whether this process was started by a supervisor and goes
// on without it.
func Outlives() bool { return outlives }

// outliveParent takes back what the process engine ties to the life of the
// supervisor. The parent-death signal (prctl(2), PR_SET_PDEATHSIG) would kill
// the child. Standard output and error are pipes to the supervisor: a Go
// program that writes to one without a reader dies of SIGPIPE.
func outliveParent() bool {
	if _, ok := syscall.Getenv(EnvControl); !ok {
		return false
	}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, 0, 0, 0, 0, 0)
	if text, ok := syscall.Getenv(EnvLogFD); ok {
		if fd, err := strconv.Atoi(text); err == nil && fd > 2 {
			_ = syscall.Dup3(fd, 1, 0)
			_ = syscall.Dup3(fd, 2, 0)
		}
	}
	return errno == 0
}

// EnvMemoryScore says how soon a child is to be killed for memory, in the units
// of /proc/PID/oom_score_adj.
const EnvMemoryScore = "SLUICE_MEMORY_SCORE"

// scored is what became of that: a child takes its score by itself and before
// anything else, because nobody but root may write the files in /proc of a process that
// leaves no core, which it will be in a moment.
var scored = takeScore()

// Scored is the error of taking the score that the supervisor wants this process
// to have; nil where it wants none.
func Scored() error { return scored }

func takeScore() error {
	score, ok := syscall.Getenv(EnvMemoryScore)
	if !ok {
		return nil
	}
	return os.WriteFile("/proc/self/oom_score_adj", []byte(score), 0)
}
