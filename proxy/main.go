// Command proxy is one worker of Sluice: an OpenAI-compatible gateway on
// fasthttp. The supervisor starts one per CPU; by hand it runs alone.
package main

import (
	"sluice/internal/boot"
	"sluice/proxy/app"
)

func main() { boot.Main("proxy", app.Run) }
