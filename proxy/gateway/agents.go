package gateway

import (
	"bytes"
	"strings"
	"sync/atomic"
)

// agents remembers the tags of User-Agents, because the same few come again and
// again. It is bounded: beyond it they are made anew each time.
type agents struct {
	known atomic.Pointer[map[string][2]string]
}

const maxAgents = 256

// of are the tags of a User-Agent: its first product, and that with its version.
func (a *agents) of(agent []byte) [2]string {
	product := agent
	if i := bytes.IndexByte(product, ' '); i >= 0 {
		product = product[:i]
	}
	known := a.known.Load()
	if known != nil {
		if t, ok := (*known)[string(product)]; ok {
			return t
		}
	}
	full := strings.ToValidUTF8(string(product[:min(len(product), maxTag)]), "?")
	name, version, _ := strings.Cut(full, "/")
	tags := [2]string{"User-Agent: " + name}
	if version != "" {
		tags[1] = "User-Agent: " + full
	}
	next := map[string][2]string{string(product[:min(len(product), maxTag)]): tags}
	if known != nil {
		if len(*known) >= maxAgents {
			return tags
		}
		for k, v := range *known {
			next[k] = v
		}
	}
	a.known.Store(&next)
	return tags
}
