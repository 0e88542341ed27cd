package gateway

import (
	"sync/atomic"
	"time"

	"sluice/proxy/llm"
	"sluice/supervisor/fleet"
)

// troubleLasts is for how long a failure says something of a deployment that is
// not called any more.
const troubleLasts = time.Minute

// health is what litellm_deployment_state says of a deployment: 0 while its
// last call was good, 1 while it failed. 2, an outage, is for deployments that
// are taken out of the rotation.
type health struct{ failed atomic.Int64 } // fleet.Now of the failure; 0: none

// good costs a load: it is called for every answer.
func (h *health) good() {
	if h.failed.Load() != 0 {
		h.failed.Store(0)
	}
}

func (h *health) bad() { h.failed.Store(fleet.Now()) }

func (h *health) state() float64 {
	if at := h.failed.Load(); at != 0 && fleet.Now()-at < int64(troubleLasts) {
		return 1
	}
	return 0
}

// healthOf finds or makes the health of a deployment. It needs mu.
func (m *Metrics) healthOf(w where) *health {
	set := "{" + labels("api_base", w.base, "api_provider", w.provider, "litellm_model_name", w.model, "model_id", w.id) + "}"
	h := m.states[set]
	if h == nil {
		h = &health{}
		if len(m.states) < maxSeries {
			m.states[set] = h
			m.set.NewGauge("litellm_deployment_state"+set, h.state)
		}
	}
	return h
}

// atFault says whether a failed call speaks against the deployment: not where
// the request was wrong, or the client left.
func atFault(e *llm.Error) bool {
	switch e.Kind {
	case llm.KindAuth, llm.KindForbidden, llm.KindNotFound, llm.KindTimeout, llm.KindRateLimit, llm.KindConnection, llm.KindProtocol, llm.KindUpstream:
		return true
	default:
		return false
	}
}
