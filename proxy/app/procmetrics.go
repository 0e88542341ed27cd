package app

import (
	"bytes"
	"io"
	"os"
	"strconv"

	"github.com/VictoriaMetrics/metrics"
	"golang.org/x/sys/unix"
)

// writeProcess writes what the kernel counts for this process. The library
// reads /proc/self/io among others, which a process that leaves no core may
// only read as root; it would say so on standard error and write zeros. Then
// its other metrics are written here, under the same names, without those of
// process_io and process_pressure. born is when the process began, in seconds
// since 1970.
func writeProcess(to io.Writer, born int64) {
	if unix.Access("/proc/self/io", unix.R_OK) == nil {
		metrics.WriteProcMetrics(to)
		return
	}
	writeOwnProcess(to, born)
}

func writeOwnProcess(to io.Writer, born int64) {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err == nil {
		user, system := seconds(used.Utime), seconds(used.Stime)
		metrics.WriteCounterFloat64(to, "process_cpu_seconds_system_total", system)
		metrics.WriteCounterFloat64(to, "process_cpu_seconds_total", user+system)
		metrics.WriteCounterFloat64(to, "process_cpu_seconds_user_total", user)
		metrics.WriteCounterUint64(to, "process_major_pagefaults_total", uint64(used.Majflt))
		metrics.WriteCounterUint64(to, "process_minor_pagefaults_total", uint64(used.Minflt))
	}
	metrics.WriteGaugeUint64(to, "process_start_time_seconds", uint64(born))
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return
	}
	names := map[string]string{ // proc(5), status
		"VmSize": "process_virtual_memory_bytes", "VmPeak": "process_virtual_memory_peak_bytes",
		"VmRSS": "process_resident_memory_bytes", "VmHWM": "process_resident_memory_peak_bytes",
		"RssAnon": "process_resident_memory_anon_bytes", "RssFile": "process_resident_memory_file_bytes",
		"RssShmem": "process_resident_memory_shared_bytes", "Threads": "process_num_threads",
	}
	for line := range bytes.Lines(status) {
		key, rest, _ := bytes.Cut(line, []byte(":"))
		name := names[string(key)]
		fields := bytes.Fields(rest)
		if name == "" || len(fields) == 0 {
			continue
		}
		n, err := strconv.ParseUint(string(fields[0]), 10, 64)
		if err != nil {
			continue
		}
		if len(fields) == 2 { // in kB
			n <<= 10
		}
		metrics.WriteGaugeUint64(to, name, n)
	}
}

func seconds(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
