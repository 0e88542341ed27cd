//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
)

// fault is what a provider may do: rows E1 to E14 of the reliability table.
type fault struct {
	script        string
	whole, stream int    // status of the answer; 0: not asked
	says          string // in an error's body, or in the error event
	broken        bool   // the stream begins well and ends with an error event
	retry         string // Retry-After of the answer
	extra         string // parameters of the deployment
}

var faults = []fault{
	{script: "s500", whole: 500, stream: 500, says: "InternalServerError"},
	{script: "s502", whole: 502, stream: 502, says: "status 502"},
	{script: "s503", whole: 503, stream: 503, says: "ServiceUnavailableError"},
	{script: "s401", whole: 401, stream: 401, says: "did not accept the gateway's credential"},
	{script: "s403", whole: 403, stream: 403, says: "did not accept the gateway's credential"},
	{script: "s404", whole: 404, stream: 404, says: "model_not_found"},
	{script: "s400", whole: 400, stream: 400, says: `"param":"temperature"`},
	{script: "s429,retry=7", whole: 429, stream: 429, says: "rate_limit_exceeded", retry: "7"},
	{script: "s429,retry=-5", whole: 429, says: "RateLimitError"},
	{script: "s429,retry=garbage", whole: 429, says: "RateLimitError"},
	{script: "s429,retry=1000000000", whole: 429, says: "RateLimitError", retry: "300"},
	{script: "ctx", whole: 400, stream: 400, says: "context_length_exceeded"},
	{script: "policy", whole: 400, stream: 400, says: "content_policy_violation"},
	{script: "drop", whole: 500, stream: 500, says: "APIConnectionError|could not be reached"},
	{script: "cut,at=-1,rst=1", whole: 500, stream: 500, says: "could not be reached"},
	{script: "cut,at=300", whole: 500, stream: 200, says: "broke off", broken: true},
	{script: "cut,at=301,rst=1", whole: 500, stream: 200, says: "broke off", broken: true},
	{script: "nodone", whole: 200, stream: 200, says: "broke off", broken: true},
	{script: "errfirst", stream: 500, says: "status 500"},
	{script: "errlater", stream: 200, says: "status 500", broken: true},
	{script: "hang", whole: 408, stream: 408, says: "did not answer in time", extra: ", timeout: 1"},
	{script: "stall,at=300", whole: 408, says: "did not answer in time", extra: ", timeout: 1"},
	{script: "drip,every=20us", whole: 200, stream: 200},
	{script: "garbage", whole: 500, stream: 500, says: "invalid answer"},
	{script: "html200", whole: 500, stream: 500, says: "invalid answer"},
	{script: "nothttp", whole: 500, stream: 500, says: "breaks HTTP"},
	{script: "redirect", whole: 502, stream: 502, says: "redirect"},
	{script: "huge,bytes=2000000", whole: 200, stream: 200},
	{script: "huge,bytes=80000000", whole: 500, says: "too large"},
	{script: "endless", whole: 500, says: "too large"},
	{script: "length,off=10", whole: 500, stream: 500, says: "broke off"},
	{script: "length,off=-10", whole: 500, stream: 500, says: "invalid answer"},
	{script: "both", whole: 500, stream: 500, says: "breaks HTTP"},
	{script: "badchunk", whole: 500, stream: 500, says: "breaks HTTP"},
	{script: "headers,bytes=1000000", whole: 500, stream: 500, says: "breaks HTTP"},
	{script: "informational,n=100", whole: 500, stream: 500, says: "breaks HTTP"},
	{script: "informational,n=3", whole: 200, stream: 200},
	{script: "usage,kind=missing", whole: 200, stream: 200},
	{script: "usage,kind=negative", whole: 200, stream: 200},
	{script: "usage,kind=absurd", whole: 200, stream: 200},
	{script: "usage,kind=text", whole: 200, stream: 200},
	{script: "after", whole: 200, stream: 200},
	{script: "close", whole: 200, stream: 200},
	{script: "odd,kind=crlf", stream: 200},
	{script: "odd,kind=cr", stream: 200},
	{script: "odd,kind=bom", stream: 200},
	{script: "odd,kind=comment", stream: 200},
	{script: "odd,kind=split", stream: 200},
	{script: "odd,kind=nospace", stream: 200},
	{script: "odd,kind=event", stream: 200},
	{script: "odd,kind=longline", stream: 500, says: "longer than 1 MiB"},
}

// TestProviderFaults asks a deployment of each kind, whole and streamed, and
// the good one after it over the same appliance: nothing of an answer may stay
// behind on a connection for the next.
func TestProviderFaults(t *testing.T) {
	p := fakeprovider.Start(t)
	var b strings.Builder
	fmt.Fprintf(&b, "model_list:\n  - {model_name: good, litellm_params: {model: openai/gpt-4o, api_key: x, api_base: %q}}\n", p.URL(""))
	for i, f := range faults {
		fmt.Fprintf(&b, "  - {model_name: f%d, litellm_params: {model: openai/gpt-4o, api_key: x, api_base: %q%s}}\n", i, p.URL(f.script), f.extra)
	}
	fmt.Fprintf(&b, "general_settings: {master_key: %s}\nrouter_settings: {num_retries: 0}\n", MasterKey)
	a := boot(t, Options{Config: b.String(), Env: quietly})
	asked := 0
	for i, f := range faults {
		t.Run(f.script, func(t *testing.T) {
			for stream, status := range map[bool]int{false: f.whole, true: f.stream} {
				if status == 0 {
					continue
				}
				asked++
				id := fmt.Sprintf("fault-%d-%v", i, stream)
				r, err := a.Chat(fmt.Sprintf(`{"model":"f%d","user":%q,"stream":%v,"messages":[{"role":"user","content":"hi"}]}`, i, id, stream))
				if r == nil {
					t.Fatalf("stream %v: %v", stream, err)
				}
				f.check(t, r, err, status, stream)
				// A kept connection that ends before the first byte is tried anew once.
				if n := len(p.Ledger().Of(id)); n != 1 && (n != 2 || !f.silent()) {
					t.Errorf("the provider was asked %d times", n)
				}
				good, err := a.Chat(`{"model":"good","user":"` + id + `-good","messages":[{"role":"user","content":"hi"}]}`)
				if err != nil || good.Status != 200 || !bytes.Contains(good.Body, []byte(`"object":"chat.completion"`)) {
					t.Fatalf("the good one afterwards: %v %+v", err, good)
				}
			}
		})
	}
	t.Logf("provider faults: %d kinds asked %d times", len(faults), asked)
}

// silent reports whether the provider ends the connection without an answer.
func (f *fault) silent() bool { return f.script == "drop" || strings.HasPrefix(f.script, "cut,at=-1") }

func (f *fault) check(t *testing.T, r *Answer, err error, status int, stream bool) {
	t.Helper()
	if r.Status != status || r.Header.Get("Retry-After") != f.retry {
		t.Errorf("stream %v: %d, Retry-After %q; want %d %q: %.300s", stream, r.Status, r.Header.Get("Retry-After"), status, f.retry, r.Body)
		return
	}
	said := false
	for s := range strings.SplitSeq(f.says, "|") {
		said = said || bytes.Contains(r.Body, []byte(s))
	}
	last := bytes.TrimRight(r.Body, "\r\n")
	ends := bytes.HasSuffix(last, []byte("data: [DONE]")) || bytes.HasSuffix(last, []byte("data:[DONE]"))
	switch {
	case status == 200 && stream && f.broken:
		last = r.Body[max(0, bytes.LastIndex(r.Body, []byte("data: "))):]
		if err == nil || !bytes.HasPrefix(last, []byte(`data: {"error":{`)) || !said || bytes.Contains(r.Body, []byte("[DONE]\n")) {
			t.Errorf("broken stream: %v: ends with %.300s", err, last)
		}
	case status == 200 && stream:
		if err != nil || !ends {
			t.Errorf("stream: %v, ends with [DONE]: %v: %.300s", err, ends, r.Body)
		}
	case err != nil:
		t.Errorf("stream %v: %v", stream, err)
	case status != 200:
		if !said || !bytes.HasPrefix(r.Body, []byte(`{"error":{`)) || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
			t.Errorf("stream %v: %s", stream, r.Body)
		}
	}
}

// TestNextDeployment: what one deployment fails at, the next one answers, as
// long as nothing has gone to the client, and the client's own mistakes are
// asked once.
func TestNextDeployment(t *testing.T) {
	p := fakeprovider.Start(t)
	scripts := []struct {
		script   string
		attempts int
		status   int
	}{
		{"s500", 2, 200},
		{"s503", 2, 200},
		{"s429,retry=0", 2, 200},
		{"s401", 2, 200},
		{"drop", 2, 200},
		{"cut,at=-1", 2, 200},
		{"garbage", 2, 200},
		{"errfirst", 2, 200},
		{"hang", 2, 200},
		{"refused", 1, 200},
		{"s400", 1, 400},
		{"ctx", 1, 400},
	}
	var b strings.Builder
	b.WriteString("model_list:\n")
	for i, s := range scripts {
		bad := p.URL(s.script)
		if s.script == "refused" {
			bad = "http://127.0.0.1:1/v1"
		}
		fmt.Fprintf(&b, "  - {model_name: m%d, litellm_params: {model: openai/gpt-4o, api_key: x, order: 1, timeout: 1, api_base: %q}}\n", i, bad)
		fmt.Fprintf(&b, "  - {model_name: m%d, litellm_params: {model: openai/gpt-4o, order: 2, api_key: another, api_base: %q}}\n", i, p.URL(""))
	}
	fmt.Fprintf(&b, "general_settings: {master_key: %s}\n", MasterKey)
	a := boot(t, Options{Config: b.String(), Env: quietly})
	for i, s := range scripts {
		for _, stream := range []bool{false, true} {
			id := fmt.Sprintf("next-%d-%v", i, stream)
			began := time.Now()
			r, err := a.Chat(fmt.Sprintf(`{"model":"m%d","user":%q,"stream":%v,"messages":[{"role":"user","content":"hi"}]}`, i, id, stream))
			if err != nil || r.Status != s.status {
				t.Errorf("%s, stream %v: %v %+v", s.script, stream, err, r)
				continue
			}
			took := time.Since(began)
			silent := (&fault{script: s.script}).silent()
			if n := len(p.Ledger().Of(id)); n != s.attempts && (n != s.attempts+1 || !silent) {
				t.Errorf("%s, stream %v: the provider was asked %d times, want %d", s.script, stream, n, s.attempts)
			}
			if retried := r.Header.Get("x-litellm-attempted-retries"); r.Status == http.StatusOK && retried != strconv.Itoa(1) {
				t.Errorf("%s: x-litellm-attempted-retries %q", s.script, retried)
			}
			if s.script != "hang" && took > time.Second {
				t.Errorf("%s, stream %v: took %v", s.script, stream, took)
			}
		}
	}
}
