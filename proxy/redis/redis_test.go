package redis

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/logtest"
	"sluice/internal/redistest"
)

func client(tb testing.TB, c Config) (*Client, *logtest.Log) {
	tb.Helper()
	log := &logtest.Log{}
	c.Log = log.Logger()
	r := New(c)
	tb.Cleanup(r.Close)
	return r, log
}

func until(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("%s: not within 30 s", what)
		}
	}
}

var count = NewScript(`return {redis.call('INCRBY', KEYS[1], ARGV[1]), 7}`)

// works makes calls until one succeeds.
func works(tb testing.TB, r *Client, key string) {
	tb.Helper()
	until(tb, "a call", func() bool {
		answer, err := r.Eval(count, "test:{"+key+"}", "1")
		return err == nil && len(answer) == 2 && answer[0] > 0 && answer[1] == 7
	})
}

func TestEval(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	r, log := client(t, Config{Addresses: []string{s.Addr}})
	works(t, r, "a")
	s.Do(t, "SCRIPT", "FLUSH")
	works(t, r, "a")
	s.Do(t, "FLUSHALL")
	works(t, r, "a")
	if log.Count("redis is used") != 1 {
		t.Errorf("log:\n%s", log)
	}
	stats := r.Stats()
	if stats.Calls < 3 || !stats.Up {
		t.Errorf("%+v", stats)
	}
	r.Close()
	if _, err := r.Eval(count, "a", "1"); !errors.Is(err, ErrAway) {
		t.Errorf("after Close: %v", err)
	}
}

// TestAway has the server die, come back, stall and go on: calls fail fast,
// one line says that it is away and one that it is back.
func TestAway(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	r, log := client(t, Config{Addresses: []string{s.Addr}})
	works(t, r, "a")
	for name, fault := range map[string][2]func(testing.TB){
		"killed":  {s.Kill, s.Start},
		"stalled": {s.Stall, s.Continue},
	} {
		before := log.Count("redis is not used until")
		fault[0](t)
		longest := time.Duration(0)
		until(t, name+": breaker opens", func() bool {
			start := time.Now()
			_, _ = r.Eval(count, "test:{a}", "1")
			longest = max(longest, time.Since(start))
			return log.Count("redis is not used until") == before+1
		})
		if longest > 2*time.Second { // 50 ms, on a machine that has other things to do
			t.Errorf("%s: a call took %v", name, longest)
		}
		made := r.Stats().Calls
		for range 1000 {
			if _, err := r.Eval(count, "test:{a}", "1"); !errors.Is(err, ErrAway) {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if r.Stats().Calls != made {
			t.Errorf("%s: calls are made behind an open breaker", name)
		}
		fault[1](t)
		works(t, r, "a")
		if n := log.Count("redis is not used until"); n != before+1 {
			t.Errorf("%s: %d lines say that it is away:\n%s", name, n-before, log)
		}
	}
	if n := log.Count("msg=\"redis is used\""); n != 3 {
		t.Errorf("%d lines say that it is there, 3 expected:\n%s", n, log)
	}
}

// TestStalledAmidCalls stalls the server under many calls: none waits much
// longer than its deadline (rueidis#680, #683).
func TestStalledAmidCalls(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	r, _ := client(t, Config{Addresses: []string{s.Addr}})
	works(t, r, "a")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var longest time.Duration
	for range 64 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				start := time.Now()
				_, err := r.Eval(count, "test:{a}", "1")
				took := time.Since(start)
				mu.Lock()
				longest = max(longest, took)
				mu.Unlock()
				if err != nil {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	s.Stall(t)
	time.Sleep(3 * time.Second)
	s.Continue(t)
	until(t, "it is used again", r.Up)
	close(stop)
	wg.Wait()
	if longest > time.Second {
		t.Errorf("a call took %v", longest)
	}
}

// TestUnusable has servers that answer and cannot be used: nobody gets an
// error of theirs, and each is told of in one line.
func TestUnusable(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	_, port, _ := net.SplitHostPort(redistest.New(t).Addr)
	for _, c := range []struct {
		name       string
		faults     [][]string
		mend       [][]string
		mustDenote string
	}{
		{"full", [][]string{{"CONFIG", "SET", "maxmemory", "1"}}, [][]string{{"CONFIG", "SET", "maxmemory", "0"}}, "OOM"},
		{"read-only", [][]string{{"REPLICAOF", "127.0.0.1", port}}, [][]string{{"REPLICAOF", "NO", "ONE"}}, "READONLY"},
		{"may not", [][]string{{"ACL", "SETUSER", "default", "-set", "-evalsha"}}, [][]string{{"ACL", "SETUSER", "default", "+@all"}}, "NOPERM"},
	} {
		r, log := client(t, Config{Addresses: []string{s.Addr}})
		works(t, r, "a")
		for _, args := range c.faults {
			if said := s.Do(t, args...); said != "OK" {
				t.Fatalf("%s: %s", c.name, said)
			}
		}
		until(t, c.name+": breaker opens", func() bool {
			_, _ = r.Eval(count, "test:{a}", "1")
			return !r.Up() && log.Count("redis is not used until") == 1
		})
		if !strings.Contains(log.String(), c.mustDenote) {
			t.Errorf("%s: log:\n%s", c.name, log)
		}
		for _, args := range c.mend {
			s.Do(t, args...)
		}
		works(t, r, "a")
	}
}

// TestNeverUsable starts with servers that cannot be used.
func TestNeverUsable(t *testing.T) {
	s := redistest.New(t)
	s.Do(t, "ACL", "SETUSER", "limited", "on", ">right", "~other:*", "+@all")
	for name, c := range map[string]struct {
		config Config
		says   string
	}{
		"too old":          {Config{Addresses: []string{old(t)}}, "redis is too old: 6.2.7, 7.0 or newer is needed"},
		"nobody there":     {Config{Addresses: []string{"127.0.0.1:1"}}, "connection refused"},
		"wrong password":   {Config{Addresses: []string{s.Addr}, Username: "limited", Password: "wrong-secret"}, "WRONGPASS"},
		"foreign keys":     {Config{Addresses: []string{s.Addr}, Username: "limited", Password: "right"}, "NOPERM"},
		"unknown master":   {Config{Addresses: []string{s.Addr}, Master: "x"}, "connect to Redis"},
		"not even a Redis": {Config{Addresses: []string{mute(t)}}, "connect to Redis"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			r, log := client(t, c.config)
			until(t, "its line", func() bool { return log.Count("redis is not used") > 0 })
			if r.Up() || !r.Tried() || !strings.Contains(log.String(), c.says) || strings.Contains(log.String(), "secret") {
				t.Errorf("log:\n%s", log)
			}
			time.Sleep(1500 * time.Millisecond)
			if n := log.Count("redis is not used"); n != 1 {
				t.Errorf("%d lines:\n%s", n, log)
			}
		})
	}
}

// old is a server that says it is 6.2.
func old(tb testing.TB) string {
	return serve(tb, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			head, err := r.ReadString('\n')
			if err != nil {
				return
			}
			var n int
			_, _ = fmt.Sscanf(head, "*%d", &n)
			var args []string
			for range n {
				_, _ = r.ReadString('\n')
				arg, _ := r.ReadString('\n')
				args = append(args, strings.ToUpper(strings.TrimSpace(arg)))
			}
			switch {
			case len(args) > 0 && args[0] == "INFO":
				text := "# Server\r\nredis_version:6.2.7\r\n"
				_, _ = fmt.Fprintf(c, "$%d\r\n%s\r\n", len(text), text)
			case len(args) > 0 && args[0] == "HELLO":
				_, _ = io.WriteString(c, "*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:2\r\n")
			default:
				_, _ = io.WriteString(c, "+OK\r\n")
			}
		}
	})
}

// mute is a server that accepts and says nothing.
func mute(tb testing.TB) string {
	return serve(tb, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

func serve(tb testing.TB, handle func(net.Conn)) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				handle(c)
			}()
		}
	}()
	return l.Addr().String()
}

func TestTLSAndUsers(t *testing.T) {
	t.Parallel()
	s, dir := redistest.TLS(t)
	pem, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	good := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	r, _ := client(t, Config{Addresses: []string{s.Addr}, TLS: good})
	works(t, r, "a")
	for name, c := range map[string]*tls.Config{
		"unknown authority": {Certificates: good.Certificates, MinVersion: tls.VersionTLS12},
		"no certificate":    {RootCAs: pool, MinVersion: tls.VersionTLS12},
	} {
		r, log := client(t, Config{Addresses: []string{s.Addr}, TLS: c})
		until(t, name, func() bool { return log.Count("redis is not used") == 1 })
		if r.Up() {
			t.Errorf("%s: it is used", name)
		}
	}
	plain := redistest.New(t)
	// What a user needs, as docs/operations.md says.
	plain.Do(t, "ACL", "SETUSER", "sluice", "on", ">a secret", "resetkeys", "~sluice:*", "~test:*", "-@all",
		"+eval", "+evalsha", "+time", "+get", "+set", "+del", "+hset", "+hdel", "+hgetall", "+pexpire", "+info", "+ping", "+hello", "+client|setname", "+incrby")
	r, _ = client(t, Config{Addresses: []string{plain.Addr}, Username: "sluice", Password: "a secret", Name: "sluice test"})
	works(t, r, "a")
}

func TestCluster(t *testing.T) {
	t.Parallel()
	all := redistest.Cluster(t, 1)
	r, _ := client(t, Config{Addresses: []string{all[1].Addr, all[2].Addr}, Cluster: true})
	for i := range 50 {
		works(t, r, fmt.Sprint(i))
	}
	// "b" is in slot 3300, of the first master: its replica takes over.
	all[0].Kill(t)
	works(t, r, "b")
	if role := all[3].Do(t, "ROLE"); !strings.HasPrefix(role, "master") {
		t.Errorf("the replica is %q", role)
	}
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	const password = "the-sentinels"
	master, replica, sentinel := redistest.Sentinels(t, password)
	r, _ := client(t, Config{Addresses: []string{sentinel.Addr}, Master: redistest.MasterName, SentinelPassword: password})
	works(t, r, "a")
	master.Kill(t)
	works(t, r, "a")
	if role := replica.Do(t, "ROLE"); !strings.HasPrefix(role, "master") {
		t.Errorf("the replica is %q", role)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.sock")
	redistest.New(t, "--unixsocket", path)
	r, _ := client(t, Config{Addresses: []string{path}})
	works(t, r, "a")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	s := redistest.New(t)
	c := Config{Addresses: []string{s.Addr}}
	conn, err := c.Dial(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := Version(ctx, conn); err != nil {
		t.Error(err)
	}
	s.Do(t, "ACL", "SETUSER", "default", "-info")
	if err := Version(ctx, conn); err != nil {
		t.Errorf("who may not ask: %v", err)
	}
}
