// Command migrator brings the database to this release's schema, once, before
// a worker starts or from a job of an orchestrator.
package main

import "sluice/internal/boot"

func main() { boot.Main("migrator", run) }
