// Command healthd says whether the appliance is well: liveness, readiness, the
// status document and the merged metrics of all workers, on a port of its own.
// It links nothing of the proxy, and it answers from the host table and from
// what it has observed before, never by doing work for a probe.
package main

import "sluice/internal/boot"

func main() { boot.Main("healthd", run) }
