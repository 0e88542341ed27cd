// Command compare measures proxies for one and the same upstream under one and
// the same load, in turns, in one run: directly, through nginx, HAProxy, a
// bare proxy on fasthttp, and through Sluice. What it compares is CPU time of
// the proxy's processes per request and per streamed event, which holds on a
// busy machine where requests per second do not.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	rounds   int
	seconds  float64
	only     string
	bin      string
	results  string
	json     bool
	streams  int
	conns    int
	idle     int
	streamed int
	share    bool
	cpus     *cpus
	upstream string // address of the fake provider, once it runs
	database string
	redis    string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run() error {
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	var o options
	flags.IntVar(&o.rounds, "rounds", 3, "rounds; every contender is measured once in each")
	flags.Float64Var(&o.seconds, "seconds", 5, "length of each measurement")
	flags.StringVar(&o.only, "only", "", "contenders, with commas: "+strings.Join(names(), ","))
	flags.StringVar(&o.bin, "bin", "bin", "directory of the built programs")
	flags.StringVar(&o.results, "results", "benchmarks/results", "directory for the table; empty keeps none")
	flags.BoolVar(&o.json, "json", false, "print JSON instead of the table")
	flags.IntVar(&o.conns, "conns", 32, "connections of the request load")
	flags.IntVar(&o.streams, "streams", 200, "streams at once; 0 measures none")
	flags.StringVar(&o.database, "database", "", "URL of an empty PostgreSQL database, for sluice-limits-pg")
	flags.StringVar(&o.redis, "redis", "", "host:port of a Redis without a password, for sluice-limits-redis")
	flags.BoolVar(&o.share, "share", false, "contenders share all processors with upstream and load, instead of half of them each")
	flags.IntVar(&o.idle, "idle", 0, "measure instead the memory that so many idle connections take")
	flags.IntVar(&o.streamed, "streams-rss", 0, "measure instead the memory that so many open streams take")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return usage(err)
	}
	if err := needs("nginx", "haproxy", "wrk", "go", "git"); err != nil {
		return err
	}
	var err error
	if o.cpus, err = splitCPUs(o.share); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "sluice-compare-")
	if err != nil {
		return fmt.Errorf("make a directory to work in: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	running, err := start(ctx, dir, &o)
	defer func() {
		for _, r := range slices.Backward(running) {
			r.stop()
		}
	}()
	if err != nil {
		return err
	}
	if o.idle > 0 || o.streamed > 0 {
		return memory(ctx, dir, &o, running[1:])
	}
	t := newTable(ctx, &o)
	for round := range o.rounds {
		for _, r := range running[1:] {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, o.rounds, r.name)
			s, err := measure(ctx, dir, &o, r)
			if err != nil {
				return fmt.Errorf("measure %s: %w", r.name, err)
			}
			t.add(r.name, s)
		}
	}
	return report(&o, t)
}

// needs says all at once what is missing and how it is installed.
func needs(programs ...string) error {
	packages := map[string]string{"go": "golang-go"}
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, or(packages[p], p))
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("programs are missing; as root: apt-get install -y %s", strings.Join(missing, " "))
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// start builds what has to be built and runs the upstream (first in the list)
// and the contenders. What it started is returned with an error too.
func start(ctx context.Context, dir string, o *options) ([]*process, error) {
	for _, name := range []string{"fakeprovider", "bareproxy"} {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(dir, name), "sluice/benchmarks/"+name)
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	var running []*process
	up, err := launch(ctx, dir, contender{name: "upstream", upstream: true, command: func(c *place) []string {
		return []string{filepath.Join(c.dir, "..", "fakeprovider"), "--addr", c.addr}
	}}, o)
	if err != nil {
		return nil, err
	}
	running, o.upstream = append(running, up), up.addr
	var want []string
	if o.only != "" {
		want = strings.Split(o.only, ",")
	}
	for _, name := range want {
		if !slices.Contains(names(), name) {
			return running, fmt.Errorf("no contender is called %q; there are %s", name, strings.Join(names(), ", "))
		}
	}
	for _, c := range contenders {
		if want != nil && !slices.Contains(want, c.name) || want == nil && !o.given(c.needs) {
			continue
		}
		if !o.given(c.needs) {
			return running, fmt.Errorf("%s needs --%s", c.name, c.needs)
		}
		r, err := launch(ctx, dir, c, o)
		if err != nil {
			return running, err
		}
		running = append(running, r)
	}
	return running, nil
}

// report prints the table and keeps it.
func report(o *options, t *table) error {
	var text strings.Builder
	t.write(&text)
	encoded, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the table: %w", err)
	}
	out := text.String()
	if o.json {
		out = string(encoded) + "\n"
	}
	if _, err := io.WriteString(os.Stdout, out); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	if o.results == "" {
		return nil
	}
	if err := os.MkdirAll(o.results, 0o755); err != nil {
		return fmt.Errorf("make the directory of results: %w", err)
	}
	name := filepath.Join(o.results, time.Now().UTC().Format("2006-01-02")+"-"+t.Machine.Commit)
	if err := os.WriteFile(name+".txt", []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("keep the table: %w", err)
	}
	if err := os.WriteFile(name+".json", append(encoded, '\n'), 0o644); err != nil {
		return fmt.Errorf("keep the table: %w", err)
	}
	return nil
}

// usage makes the request for help no error.
func usage(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	return err
}
