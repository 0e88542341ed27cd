package gateway

import (
	"bytes"
	"regexp"
	"testing"
	"time"

	"sluice/supervisor/fleet"
)

// TestDeploymentState: 1 after a failure that is the deployment's, 0 again
// after a good call, or when the failure is long past.
func TestDeploymentState(t *testing.T) {
	b := newBench(t, func(c *Config) {
		for i := range c.Models {
			c.Models[i].ID = "dep-" + c.Models[i].Name
		}
		c.Retries = 0
	}, "flaky=first,n=1/s503", "wrong=s400", "good=ok", "down=s500")
	state := func(m string) string {
		var out bytes.Buffer
		b.metrics.Write(&out)
		found := regexp.MustCompile(`litellm_deployment_state\{api_base="[^"]+",api_provider="openai",litellm_model_name="[^"]+",model_id="dep-` + m + `"\} (\d)`).FindStringSubmatch(out.String())
		if found == nil {
			return ""
		}
		return found[1]
	}
	for _, step := range []struct{ model, want string }{
		{"good", "0"}, {"wrong", ""}, {"flaky", "1"}, {"flaky", "0"}, {"down", "1"},
	} {
		_, _, _, _ = b.run(t, request(step.model, step.model, false, false))
		if got := state(step.model); got != step.want {
			t.Errorf("%s is %q, want %q", step.model, got, step.want)
		}
	}
	for _, h := range b.metrics.states {
		if h.failed.Load() != 0 {
			h.failed.Store(fleet.Now() - int64(troubleLasts+time.Second))
		}
	}
	if got := state("down"); got != "0" {
		t.Errorf("a minute later down is %q", got)
	}
}
