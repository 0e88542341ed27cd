package gateway

import (
	"regexp"
	"strings"
	"testing"

	"sluice/proxy/provider"
)

// TestClientSide: what a client may bring is decided by the deployment or by
// one switch; a client's address gets the client's key alone.
func TestClientSide(t *testing.T) {
	const ours, theirs, canary = "sk-upstream-secret", "sk-of-the-client", "canary-4711"
	var here string // the fake provider, as a client would name it
	b := newBench(t, func(c *Config) {
		m := c.Models[0]
		m.Params.Headers = []provider.Header{{Name: "X-Own", Value: canary}}
		m.Params.Extra = []provider.Param{{Name: "own", JSON: []byte(`"` + canary + `"`)}}
		m.Params.Organization = canary
		here = m.Params.APIBase
		list := func(name string, params ...ClientParam) {
			m.Name, m.Client = name, params
			c.Models = append(c.Models, m)
		}
		list("key", ClientParam{Name: "api_key"})
		list("both", ClientParam{Name: "api_key"}, ClientParam{Name: "api_base"})
		list("named", ClientParam{Name: "api_key"}, ClientParam{Name: "api_base", Pattern: regexp.MustCompile(`\A(?:http://127\.0\.0\.1:.*)\z`)})
		list("url", ClientParam{Name: "api_key"}, ClientParam{Name: "base_url", Pattern: regexp.MustCompile(`\A(?:http://127\.0\.0\.1:.*)\z`)})
	}, "none=ok")
	for _, c := range []struct {
		name, model, brings string
		status              int
		says                string
		key                 string // what the provider got
		canary              bool
	}{
		{"nothing is allowed", "none", `"api_key":"` + theirs + `"`, 401, "api_key is not allowed", "", false},
		{"a key", "key", `"api_key":"` + theirs + `"`, 200, "", theirs, true},
		{"nothing brought", "key", `"n":1`, 200, "", ours, true},
		{"an address where only a key may be", "key", `"api_key":"k","api_base":"https://example.com"`, 401, "not allowed", "", false},
		{"a router", "both", `"user_config":{}`, 401, "user_config is not allowed", "", false},
		{"no text", "both", `"api_key":7`, 401, "not allowed", "", false},
		{"loopback", "both", `"api_key":"k","api_base":"` + here + `"`, 400, "leads to an address", "", false},
		{"metadata", "both", `"api_key":"k","api_base":"http://169.254.169.254/v1"`, 400, "leads to an address", "", false},
		{"metadata by another name", "both", `"api_key":"k","base_url":"http://[::ffff:a9fe:a9fe]/v1"`, 400, "leads to an address", "", false},
		{"another scheme", "both", `"api_key":"k","api_base":"file:///etc/passwd"`, 400, "cannot be used", "", false},
		{"a password", "both", `"api_key":"k","api_base":"https://u:p@example.com"`, 400, "cannot be used", "", false},
		{"a line end", "both", `"api_key":"k\r\nX-Evil: 1"`, 400, "cannot be used", "", false},
		{"an address without a key", "named", `"api_base":"` + here + `"`, 400, "must be sent along", "", false},
		{"an address and a key", "named", `"api_key":"` + theirs + `","api_base":"` + here + `"`, 200, "", theirs, false},
		{"the pattern counts for both names", "url", `"api_key":"k","api_base":"http://10.0.0.1/v1"`, 401, "not allowed", "", false},
		{"by its other name", "named", `"api_key":"` + theirs + `","base_url":"` + here + `"`, 200, "", theirs, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.fake.Ledger().Reset()
			body := strings.TrimSuffix(request(c.model, "cs", false, false), "}") + "," + c.brings + "}"
			x, _, _, e := b.run(t, body)
			status := x.Status
			if status != c.status || e != nil && !strings.Contains(e.Message, c.says) {
				t.Fatalf("status %d, want %d: %v", status, c.status, e)
			}
			all := b.fake.Ledger().Of("cs")
			if (len(all) == 1) != (c.status == 200) {
				t.Fatalf("the provider was called %d times", len(all))
			}
			if c.status != 200 {
				return
			}
			sent := string(all[0].Head) + string(all[0].Body)
			if !strings.Contains(sent, "Authorization: Bearer "+c.key+"\r\n") || strings.Contains(sent, "api_") || strings.Contains(sent, "base_url") {
				t.Errorf("sent %s", sent)
			}
			if strings.Contains(sent, canary) != c.canary {
				t.Errorf("what is the deployment's own was sent: %v\n%s", !c.canary, sent)
			}
		})
	}
}

// TestClientSideForAll: the switch opens every deployment, and keeps the guard.
func TestClientSideForAll(t *testing.T) {
	b := newBench(t, func(c *Config) {
		c.AllowClient = true
		c.Models = append(c.Models, Model{Name: "keyless", Retries: 0, Params: provider.Params{Model: "openai/x", APIBase: c.Models[0].Params.APIBase}})
	}, "m=ok")
	with := func(model, brings string) string {
		return strings.TrimSuffix(request(model, "ca", false, false), "}") + "," + brings + "}"
	}
	if _, _, _, e := b.run(t, with("keyless", `"api_key":"sk-x"`)); e != nil {
		t.Errorf("a deployment without a key, called with the client's: %v", e)
	}
	if _, _, _, e := b.run(t, with("m", `"api_key":"k","api_base":"http://127.0.0.1:9/v1"`)); e == nil || e.HTTPStatus() != 400 {
		t.Errorf("loopback: %v", e)
	}
	if _, _, _, e := b.run(t, with("m", `"user_config":{}`)); e == nil || e.HTTPStatus() != 401 {
		t.Errorf("user_config: %v", e)
	}
}
