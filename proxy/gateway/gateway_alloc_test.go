//go:build !race

package gateway

import (
	"errors"
	"io"
	"net"
	"strconv"
	"testing"

	"sluice/internal/fakeprovider"
	"sluice/proxy/auth"
	"sluice/proxy/identity"
	"sluice/proxy/jsonscan"
	"sluice/proxy/provider"
)

func TestPumpAllocatesNothing(t *testing.T) {
	_, p := newPump(t, 4)
	buf := make([]byte, 8<<10)
	for range 20 {
		if _, err := p.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := p.Read(buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// TestLaneAllocates: scan, identify, plan, edit and splice of a request.
func TestLaneAllocates(t *testing.T) {
	b := newBench(t, nil, "mine=ok")
	x := b.exchange(t, request("mine", "u", true, false))
	if n := testing.AllocsPerRun(1000, func() {
		if b.Identify(x, []byte(master)) != nil || x.object.Scan(x.Body) != nil {
			t.Fatal("refused")
		}
		if b.plan(x) != nil {
			t.Fatal("no plan")
		}
		d := x.plan.Deployments[0]
		model, _ := x.names(b.bindings[d.Index], d)
		x.edits = b.bindings[d.Index].target.Pass(&x.Request, model, x.edits[:0])
		jsonscan.Sort(x.edits)
		x.pieces = jsonscan.Splice(x.pieces[:0], x.Body, x.edits)
	}); n > 1 { // the key's bytes, made here
		t.Fatalf("%v allocations", n)
	}
	if len(x.pieces) < 3 || !x.Caller.Master {
		t.Fatal("nothing was done")
	}
}

// static is a provider that answers each request with the same bytes and
// allocates nothing. Requests are told apart by their last byte.
func static(t testing.TB, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	out := []byte(answer)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buf := make([]byte, 64<<10)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if buf[n-1] == '}' {
						if _, err := c.Write(out); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/v1"
}

func staticBench(t testing.TB) (*bench, *Exchange) {
	body := string(fakeprovider.DefaultShape.Whole("u", "gpt-4o-mini"))
	url := static(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\nx-request-id: r1\r\n\r\n"+body)
	b := newBench(t, func(c *Config) {
		c.Log = nil
		c.Models = []Model{{Name: "mine", Retries: -1, Params: provider.Params{Model: "openai/gpt-4o-mini", APIKey: "k", APIBase: url}}}
	})
	return b, b.exchange(t, request("mine", "u", false, false))
}

func (b *bench) once(t testing.TB, x *Exchange, key, body []byte) {
	x.Reset()
	x.Dialect, x.Start, x.Route, x.Body = speaker{}, b.now(), "/v1/chat/completions", body
	_ = b.Identify(x, key)
	decode(t, x)
	if _, e := b.Do(x); e != nil {
		t.Fatal(e)
	}
	x.Settle()
}

// TestExchangeAllocates counts a whole exchange over a real connection.
func TestExchangeAllocates(t *testing.T) {
	b, x := staticBench(t)
	key, body := []byte(master), x.Body
	for range 50 {
		b.once(t, x, key, body)
	}
	if n := testing.AllocsPerRun(500, func() { b.once(t, x, key, body) }); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkPump(b *testing.B) {
	_, p := newPump(b, 1)
	buf := make([]byte, 8<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkExchange(b *testing.B) {
	g, x := staticBench(b)
	key, body := []byte(master), x.Body
	b.ReportAllocs()
	for b.Loop() {
		g.once(b, x, key, body)
	}
}

// FuzzPump gives the pump any bytes in pieces of any size: it ends, with
// [DONE] on success alone, and never passes what is not whole events.
func FuzzPump(f *testing.F) {
	f.Add([]byte(chunk(0)+chunk(1)+"data: [DONE]\n\n"), 7)
	f.Add([]byte("\xef\xbb\xbf: x\r\n\r\ndata: {\r\ndata: }\r\n\r\n"), 3)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		x, p := newPump(t, 1)
		x.g = &Gateway{now: func() int64 { return 0 }}
		p.src = &pieces{b: b, n: 1 + (piece&0xff)%64}
		buf := make([]byte, 64)
		total := 0
		for {
			n, err := p.Read(buf)
			total += n
			if total > 20*len(b)+4096 {
				t.Fatal("grows")
			}
			if err == nil {
				continue
			}
			if errors.Is(err, io.EOF) != p.done || p.done == p.broken || (x.Err == nil) != p.done {
				t.Fatalf("%v, done %v, broken %v, error %v", err, p.done, p.broken, x.Err)
			}
			return
		}
	})
}

// The lane of a virtual key allocates as little as that of the master key.
func TestVirtualKeyAllocates(t *testing.T) {
	ring := &keyring{}
	ring.add("sk-of-a-team", func(k *identity.Key) {
		k.TeamID, k.Models, k.Aliases = "t1", []string{"mine"}, map[string]string{"m": "mine"}
	})
	b, x := staticBench(t)
	b.keys = auth.New(auth.Config{MasterKey: master, Directory: directory(t, ring)})
	key, body := []byte("sk-of-a-team"), x.Body
	for range 50 {
		b.once(t, x, key, body)
	}
	if n := testing.AllocsPerRun(500, func() { b.once(t, x, key, body) }); n > 0 {
		t.Fatalf("%v allocations", n)
	}
	if x.Caller.Team != "t1" {
		t.Fatalf("%+v", x.Caller)
	}
}
