package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// withEverything is a contender with all that is asked of a gateway: a virtual
// key of a user, a team and an organization, limits and budgets of key and team,
// a record of each request in a database. Its rows are held back while requests
// are measured and shipped afterwards, so that the two are figures of their own.
func withEverything(c contender) contender {
	c = withVirtualKey(c, limited)
	c.ships = true
	files := c.files
	c.files = func(p *place) map[string]string { // a price, or budgets would have nothing to do
		out := files(p)
		for name, text := range out {
			out[name] = strings.ReplaceAll(text, "api_key: sk-upstream", "api_key: sk-upstream, input_cost_per_token: 0.000001, output_cost_per_token: 0.000002")
		}
		return out
	}
	return c
}

// onDatabase has the rows shipped to PostgreSQL (--database), not to SQLite.
func onDatabase(c contender) contender {
	env := c.env
	c.needs = "database"
	c.env = func(p *place) []string { return append(env(p), "DATABASE_URL="+p.database) }
	return c
}

// withRedis shares its limits with other hosts (--redis).
func withRedis(c contender) contender {
	env := c.env
	c.needs = "redis"
	c.env = func(p *place) []string {
		host, port := split(p.redis)
		return append(env(p), "REDIS_HOST="+host, "REDIS_PORT="+port)
	}
	return c
}

// given reports whether what a contender needs was named on the command line.
func (o *options) given(needs string) bool {
	switch needs {
	case "database":
		return o.database != ""
	case "redis":
		return o.redis != ""
	}
	return true
}

// holdBack takes the lock on the journals before the contender starts: whoever
// has it ships.
func (p *process) holdBack() error {
	dir := filepath.Join(p.dir, "state", "journal")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of journals of %s: %w", p.name, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "ledger.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the lock of the journals of %s: %w", p.name, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return fmt.Errorf("lock the journals of %s: %w", p.name, err)
	}
	p.lock = f
	return nil
}

// ship lets the rows go, waits until all are in the database, and says what that
// took of the contender's CPU time, in microseconds a row. The database's own is
// not in it, nor what the processes use when they do nothing.
func (p *process) ship(ctx context.Context) (float64, error) {
	const rest = time.Second
	before := p.cpu()
	time.Sleep(rest)
	idle := float64(p.cpu()-before) / float64(rest)
	before, began := p.cpu(), time.Now()
	if err := p.lock.Close(); err != nil {
		return 0, fmt.Errorf("let go of the journals of %s: %w", p.name, err)
	}
	p.lock = nil
	for last := -1.0; time.Since(began) < time.Minute; {
		time.Sleep(rest)
		rows, err := p.metric(ctx, "sluice_ledger_rows_total")
		if err != nil {
			return 0, err
		}
		if rows > 0 && rows == last {
			used := float64(p.cpu()-before) - idle*float64(time.Since(began))
			return max(used, 0) / 1e3 / rows, nil
		}
		last = rows
	}
	return 0, fmt.Errorf("%s ships no rows, or does not come to an end of it", p.name)
}

// metric is the sum of a metric's series.
func (p *process) metric(ctx context.Context, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.spare+"/metrics", http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("make a request: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask %s for its metrics: %w", p.name, err)
	}
	defer func() { _ = res.Body.Close() }()
	sum := 0.0
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		n, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("read the metric %s of %s: %w", name, p.name, err)
		}
		sum += n
	}
	return sum, nil
}
