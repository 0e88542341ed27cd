package fakeprovider

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

const question = `{"model":"gpt-4o-mini","messages":[{"role":"user","content":"\"user\":\"no\" {["}],"user":"u-1"`

func post(t *testing.T, url, body string) (*http.Response, []byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return res, got, err
}

func TestAnswersAreWhatTheShapeSays(t *testing.T) {
	p := Start(t)
	tests := []struct {
		name, script, rest string
		shape              Shape
		stream, usage      bool
	}{
		{"whole", "", "}", DefaultShape, false, false},
		{"whole of 5000", "ok,body=5000", "}", Shape{Body: 5000}, false, false},
		{"stream", "stream", `,"stream":true}`, DefaultShape, true, false},
		{"stream with usage", "", `,"stream":true,"stream_options":{"include_usage":true}}`, DefaultShape, true, true},
		{"stream by hash", "ok,n=3-90,size=1-200", `,"stream":true}`, Shape{Events: Range{3, 90}, Size: Range{1, 200}}, true, false},
		{"stream on a beat", "ok,n=5,every=1ms", `,"stream":true}`, Shape{Events: Range{5, 5}, Size: DefaultShape.Size}, true, false},
		{"dripped", "drip,every=1us,n=2", `,"stream":true}`, Shape{Events: Range{2, 2}, Size: DefaultShape.Size}, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, got, err := post(t, p.URL(tt.script), question+tt.rest)
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("answer: %v %v", res, err)
			}
			want := tt.shape.Whole("u-1", Model)
			if tt.stream {
				want = tt.shape.Stream("u-1", Model, tt.usage)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if !tt.stream && len(got) != tt.shape.Body {
				t.Errorf("body of %d bytes, want %d", len(got), tt.shape.Body)
			}
		})
	}
	for i, e := range p.Ledger().Of("u-1") {
		if e.Attempt != i+1 || !e.Complete || e.Cancelled || e.End.Before(e.Start) || e.Bytes == 0 || e.Model != "gpt-4o-mini" {
			t.Errorf("entry %d: %+v", i, e)
		}
		if e.Streamed && e.Usage != (e.Tokens.Completion > 0) {
			t.Errorf("entry %d says tokens %+v with usage asked for: %v", i, e.Tokens, e.Usage)
		}
		if !bytes.Contains(e.Body, []byte(`"user":"u-1"`)) || !bytes.HasPrefix(e.Head, []byte("POST /")) {
			t.Errorf("entry %d: raw request %q %q", i, e.Head, e.Body)
		}
	}
}

func TestEveryEventIsJSON(t *testing.T) {
	for i := range 300 {
		id := "id-" + strconv.Itoa(i)
		shape := Shape{Body: 300 + i, Events: Range{0, 40}, Size: Range{0, 60}, Null: i%2 == 0}
		if whole := shape.Whole(id, "m"); !json.Valid(whole) {
			t.Fatalf("%s: %s", id, whole)
		}
		lines := strings.Split(strings.TrimSuffix(string(shape.Stream(id, "m", true)), "\n\n"), "\n\n")
		if len(lines) != shape.Chunks(id, true) || lines[len(lines)-1] != "data: [DONE]" {
			t.Fatalf("%s: %d events, want %d; last %q", id, len(lines), shape.Chunks(id, true), lines[len(lines)-1])
		}
		for _, line := range lines[:len(lines)-1] {
			if !json.Valid([]byte(strings.TrimPrefix(line, "data: "))) {
				t.Fatalf("%s: %s", id, line)
			}
		}
	}
}

func TestFaults(t *testing.T) {
	p := Start(t)
	const streamed = question + `,"stream":true}`
	tests := []struct {
		script, body string
		status       int    // 0: the call fails before a header
		cut          bool   // the body is cut
		has          string // in the body or its header
	}{
		{"s429,retry=7", question + "}", 429, false, "rate_limit_exceeded"},
		{"s429,retry=-1000000000", question + "}", 429, false, "Retry-After: -1000000000"},
		{"s500", question + "}", 500, false, "server_error"},
		{"s503", question + "}", 503, false, "overloaded"},
		{"s401", question + "}", 401, false, "invalid_api_key"},
		{"s400", question + "}", 400, false, "temperature"},
		{"s529", question + "}", 529, false, "overloaded_error"},
		{"ctx", question + "}", 400, false, "context_length_exceeded"},
		{"cut,at=100", question + "}", 200, true, ""},
		{"cut,at=100", streamed, 200, true, ""},
		{"cut,at=-1", streamed, 0, false, ""},
		{"drop,rst=1", streamed, 0, false, ""},
		{"nothttp", streamed, 0, false, ""},
		{"garbage", question + "}", 200, false, "oops"},
		{"html200", streamed, 200, false, "<html>"},
		{"redirect,to=%2Felsewhere", question + "}", 307, false, "Location: /elsewhere"},
		{"huge,bytes=2000000", question + "}", 200, false, "chat.completion"},
		{"length,off=10", question + "}", 200, true, ""},
		{"badchunk", question + "}", 200, true, ""},
		{"informational,n=3", question + "}", 200, false, "chat.completion"},
		{"usage,kind=negative", question + "}", 200, false, `"prompt_tokens":-5`},
		{"usage,kind=missing", question + "}", 200, false, `"finish_reason":"stop"}],"service_tier"`},
		{"nodone", streamed, 200, false, `"finish_reason":"stop"`},
		{"errfirst", streamed, 200, false, `data: {"error":`},
		{"errlater", streamed, 200, false, `data: {"error":`},
		{"odd", streamed, 200, false, "\r\n\r\ndata: [DONE]"},
		{"odd,kind=split", streamed, 200, false, ",\ndata: \"choices\":"},
		{"echo", question + "}", 200, false, `\"user\":\"u-1\"`},
		{"close", question + "}", 200, false, "chat.completion"},
		{"slow,for=1ms/s500", question + "}", 500, false, "server_error"},
		{"nonsense", question + "}", 400, false, "no behaviour"},
		{"", `{"model":"x"}`, 400, false, "missing_required_parameter"},
		{"", `{"model":`, 400, false, "could not parse"},
	}
	for _, tt := range tests {
		t.Run(tt.script, func(t *testing.T) {
			res, got, err := post(t, p.URL(tt.script), tt.body)
			if tt.status == 0 {
				if err == nil {
					t.Fatalf("answered %d", res.StatusCode)
				}
				return
			}
			if res == nil || res.StatusCode != tt.status || (err != nil) != tt.cut {
				t.Fatalf("got %+v, %v, want %d, cut %v", res, err, tt.status, tt.cut)
			}
			var all bytes.Buffer
			if err := res.Header.Write(&all); err != nil {
				t.Fatal(err)
			}
			all.Write(got)
			if !strings.Contains(all.String(), tt.has) {
				t.Errorf("no %q in %.2000s", tt.has, all.String())
			}
		})
	}
}

func TestFirstHoldsForThatManyAttempts(t *testing.T) {
	p := Start(t)
	for attempt, want := range []int{503, 503, 200, 200} {
		res, _, err := post(t, p.URL("first,n=2/s503"), question+"}")
		if err != nil || res.StatusCode != want {
			t.Errorf("attempt %d: %v %v, want %d", attempt+1, res, err, want)
		}
	}
}

func TestTheClientsLeavingIsSeen(t *testing.T) {
	p := Start(t)
	for _, script := range []string{"hang", "slow,for=1m", "ok,n=1000,every=100ms", "stall,at=50", "drip,every=50ms", "endless"} {
		t.Run(script, func(t *testing.T) {
			p.Ledger().Reset()
			var d net.Dialer
			nc, err := d.DialContext(t.Context(), "tcp", p.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			body := question + `,"stream":true}`
			if _, err := io.WriteString(nc, "POST /"+script+"/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body); err != nil {
				t.Fatal(err)
			}
			until(t, func() bool { return p.Ledger().Running() == 1 })
			left := time.Now()
			if err := nc.Close(); err != nil {
				t.Fatal(err)
			}
			until(t, func() bool { return p.Ledger().Running() == 0 })
			e := p.Ledger().Of("u-1")[0]
			if !e.Cancelled || e.Complete || e.Gone.Sub(left) > 200*time.Millisecond {
				t.Errorf("seen after %v: %+v", e.Gone.Sub(left), e)
			}
		})
	}
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to that in 5 s")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestPipelinedAndChunkedRequests(t *testing.T) {
	p := Start(t)
	var d net.Dialer
	nc, err := d.DialContext(t.Context(), "tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	one := question + "}"
	var all strings.Builder
	for range 2 {
		all.WriteString("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
		all.WriteString("5;x=y\r\n" + one[:5] + "\r\n" + strconv.FormatInt(int64(len(one)-5), 16) + "\r\n" + one[5:] + "\r\n0\r\n\r\n")
		all.WriteString("POST /slow,for=20ms/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: " + strconv.Itoa(len(one)) + "\r\n\r\n" + one)
	}
	if _, err := io.WriteString(nc, all.String()); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(nc)
	for i := range 4 {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || !bytes.Equal(got, DefaultShape.Whole("u-1", Model)) {
			t.Fatalf("answer %d: %v %s", i, err, got)
		}
	}
}

func TestLedgerOverHTTP(t *testing.T) {
	p := Start(t)
	if _, _, err := post(t, p.URL(""), question+"}"); err != nil {
		t.Fatal(err)
	}
	get := func(path string) (served int64, entries []Entry) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var got struct {
			Served  int64
			Entries []Entry
		}
		if err := json.NewDecoder(res.Body).Decode(&got); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		return got.Served, got.Entries
	}
	if _, entries := get("/ledger?id=u-1"); len(entries) != 1 || entries[0].Tokens != DefaultShape.Tokens("u-1", false) {
		t.Errorf("entries: %+v", entries)
	}
	get("/ledger/reset")
	if _, entries := get("/ledger"); len(entries) != 0 {
		t.Errorf("after the reset: %+v", entries)
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(question + `,"stream":true,"stream_options":{"include_usage":true},"max_tokens":5}`))
	f.Add([]byte(`{"a":"\\\"","user":"\\"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a := scan(body)
		if json.Valid(body) && len(bytes.TrimSpace(body)) > 0 && bytes.TrimSpace(body)[0] == '{' && !a.object {
			t.Errorf("refused %q", body)
		}
	})
}
