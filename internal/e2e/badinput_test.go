//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/internal/fakeprovider"
)

// TestBadRequests sends what a mistaken client sends, one after the other over
// one connection, which has to live through all of it.
func TestBadRequests(t *testing.T) {
	p := fakeprovider.Start(t)
	a := boot(t, Options{Config: fmt.Sprintf(edgeConfig, p.URL(""), p.URL("slow"), MasterKey), Env: quietly})
	const hi = `"messages":[{"role":"user","content":"hi"}]`
	const asJSON = rawKey + "Content-Type: application/json\r\n"
	chat := "POST /v1/chat/completions HTTP/1.1\r\n"
	for _, c := range []struct {
		name, request, header, body string
		status                      int
		want                        []string // in the answer's body
	}{
		{"bad JSON", chat, asJSON, `{"model":"ok",`, 400, []string{"Invalid JSON payload", "byte 14", `"invalid_request_error"`}},
		{"trailing data", chat, asJSON, `{"model":"ok",` + hi + `} x`, 400, []string{"after the end"}},
		{"no JSON at all", chat, asJSON, `model=ok`, 400, []string{"Invalid JSON"}},
		{"F5 duplicate", chat, asJSON, `{"model":"ok","model":"slow",` + hi + `}`, 400, []string{"twice"}},
		{"F5 duplicate by escape", chat, asJSON, `{"model":"ok","mod\u0065l":"slow",` + hi + `}`, 400, []string{"escapes"}},
		{"F5 NaN", chat, asJSON, `{"model":"ok","temperature":NaN,` + hi + `}`, 400, []string{"Invalid JSON"}},
		{"F5 1e999", chat, asJSON, `{"model":"ok","temperature":1e999,` + hi + `}`, 400, []string{"out of range"}},
		{"F5 lone surrogate", chat, asJSON, `{"model":"ok","user":"\ud800",` + hi + `}`, 400, []string{"surrogate"}},
		{"F5 byte order mark", chat, asJSON, "\xef\xbb\xbf" + `{"model":"ok",` + hi + `}`, 400, []string{"byte order mark"}},
		{"F6 nesting", chat, asJSON, `{"model":"ok","x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `,` + hi + `}`, 400, []string{"nested"}},
		{"F6 a million brackets", chat, asJSON, `{"model":"ok","x":` + strings.Repeat("[", 1_000_000), 400, []string{"nested"}},
		{"F7 UTF-8", chat, asJSON, "{\"model\":\"ok\",\"user\":\"\xff\"," + hi + `}`, 400, []string{"UTF-8"}},
		{"F16 choices", chat, asJSON, `{"model":"ok","n":1000000,` + hi + `}`, 400, []string{"'n' must be at most"}},
		{"F16 tokens", chat, asJSON, `{"model":"ok","max_tokens":1000000000000000000,` + hi + `}`, 400, []string{"'max_tokens' must be at most"}},
		{"array", chat, asJSON, `[]`, 400, []string{"a JSON object was expected"}},
		{"model of the wrong type", chat, asJSON, `{"model":5,` + hi + `}`, 400, []string{"'model' must be a string", `"param":"model"`}},
		{"messages of the wrong type", chat, asJSON, `{"model":"ok","messages":"hi"}`, 400, []string{"must be an array", `"param":"messages"`}},
		{"stream of the wrong type", chat, asJSON, `{"model":"ok","stream":"yes",` + hi + `}`, 400, []string{"must be true or false", `"param":"stream"`}},
		{"no model", chat, asJSON, `{` + hi + `}`, 400, []string{"no model"}},
		{"no messages", chat, asJSON, `{"model":"ok"}`, 400, []string{"Missing required parameter: 'messages'", `"param":"messages"`}},
		{"no body", chat, asJSON, ``, 400, []string{"Missing required parameter"}},
		{"unknown model", chat, asJSON, `{"model":"nope",` + hi + `}`, 400, []string{"Invalid model name passed in model=nope"}},
		{"foreign credential", chat, asJSON, `{"model":"ok","api_base":"http://evil.example",` + hi + `}`, 401, []string{"api_base"}},
		{"form", chat, rawKey + "Content-Type: application/x-www-form-urlencoded\r\n", `model=ok`, 400, []string{"must be JSON"}},
		{"text", chat, rawKey + "Content-Type: text/plain\r\n", `{"model":"ok",` + hi + `}`, 400, []string{"must be JSON"}},
		{"no content type", chat, rawKey, `{"model":"ok",` + hi + `}`, 200, []string{`"chat.completion"`}},
		{"wrong method", "GET /v1/chat/completions HTTP/1.1\r\n", rawKey, ``, 405, []string{`{"detail":"Method Not Allowed"}`}},
		{"unknown route", "POST /v1/nothing HTTP/1.1\r\n", asJSON, `{}`, 404, []string{`{"detail":"Not Found"}`}},
		{"no key", chat, "Content-Type: application/json\r\n", `{}`, 401, []string{"No api key passed in", `"auth_error"`}},
		{"empty key", chat, "Authorization: Bearer \r\n", `{}`, 401, []string{`"auth_error"`}},
		{"key without scheme", chat, "Authorization: " + MasterKey + "\r\n", `{}`, 401, []string{"Malformed API Key"}},
		{"key that is none", chat, "Authorization: Bearer hello\r\n", `{}`, 401, []string{"starts with 'sk-'"}},
		{"wrong key", chat, "Authorization: Bearer sk-wrong\r\n", `{}`, 401, []string{`"token_not_found_in_db"`, `"param":"key"`}},
		{"timeout of the wrong type", chat, asJSON + "x-litellm-timeout: soon\r\n", `{"model":"ok",` + hi + `}`, 400, []string{"x-litellm-timeout"}},
		{"good", chat, asJSON, `{"model":"ok",` + hi + `}`, 200, []string{`"model":"ok"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, err := net.DialTimeout("tcp", a.Addr(), 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			r := bufio.NewReader(nc)
			for range 2 {
				_, _ = fmt.Fprintf(nc, "%sHost: x\r\n%sContent-Length: %d\r\n\r\n", c.request, c.header, len(c.body))
				_, _ = io.WriteString(nc, c.body)
				got, _ := replies(nc, r, 1, 10*time.Second)
				if len(got) != 1 || got[0].status != c.status {
					t.Fatalf("got %+v, want %d", got, c.status)
				}
				for _, want := range c.want {
					if !strings.Contains(got[0].body, want) {
						t.Errorf("body %s; want %s", got[0].body, want)
					}
				}
			}
		})
	}
	if n := p.Served(); n != 4 {
		t.Errorf("the provider was asked %d times, want 4", n)
	}
}

// TestTooLarge: refused by the length that is announced, before a byte of the
// body is sent, and by what arrives where no length is.
func TestTooLarge(t *testing.T) {
	a := boot(t, Options{Env: quietly})
	for name, rest := range map[string]string{
		"announced": "Content-Length: 33554433\r\n\r\n",
		"in chunks": "Transfer-Encoding: chunked\r\n\r\n2100000\r\n" + strings.Repeat(" ", 33<<20),
	} {
		nc, err := net.DialTimeout("tcp", a.Addr(), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		wrote := make(chan struct{})
		go func() { // its end comes with the connection's
			defer close(wrote)
			_, _ = io.WriteString(nc, rawPost+rest)
		}()
		got, _ := replies(nc, bufio.NewReader(nc), 1, 20*time.Second)
		if len(got) != 1 || got[0].status != 413 || !strings.Contains(got[0].body, "Request size is too large") {
			t.Errorf("%s: got %+v", name, got)
		}
		_ = nc.Close()
		<-wrote
	}
}

// TestSlowHeader: half a header is answered with 408 within the 10 s that a
// header may take.
func TestSlowHeader(t *testing.T) {
	a := boot(t, Options{Env: quietly})
	nc, err := net.DialTimeout("tcp", a.Addr(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	began := time.Now()
	_, _ = io.WriteString(nc, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n")
	got, ended := replies(nc, bufio.NewReader(nc), 0, 15*time.Second)
	if took := time.Since(began); len(got) != 1 || got[0].status != 408 || !ended || took < 9*time.Second || took > 13*time.Second {
		t.Errorf("after %v: %+v, ended %v", took, got, ended)
	}
}
