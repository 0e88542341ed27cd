// Command load runs the load generator by hand against a gateway or the fake
// provider: a mix of new connections, kept ones, idle ones and streams, each
// class left out where its number is 0.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"sluice/benchmarks/loadgen"
	"sluice/internal/fakeprovider"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run() error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	var s loadgen.Spec
	flags.StringVar(&s.Addr, "addr", "127.0.0.1:4000", "address of the server")
	flags.StringVar(&s.Key, "key", "", "key to send")
	flags.StringVar(&s.Path, "path", "/v1/chat/completions", "path of the requests")
	flags.StringVar(&s.Model, "model", "gpt-4o-mini", "model to ask for")
	flags.DurationVar(&s.Duration, "duration", 10*time.Second, "time of arrivals")
	flags.DurationVar(&s.Timeout, "timeout", 30*time.Second, "time of one request")
	flags.Uint64Var(&s.Seed, "seed", uint64(time.Now().UnixNano()), "seed of think times and request ids")
	fresh := flags.Float64("fresh", 0, "requests a second, each on a new connection")
	rate := flags.Float64("rate", 0, "requests a second over --conns kept connections")
	conns := flags.Int("conns", 0, "kept connections")
	think := flags.Duration("think", time.Second, "longest think time of a kept connection, without --rate")
	idle := flags.Int("idle", 0, "connections held and used once at the end")
	streams := flags.Int("streams", 0, "streams at once")
	streamModel := flags.String("stream-model", "", "model of the streams; empty is --model")
	script := flags.String("script", "", "script of the fake provider behind the models, such as ok,n=20, for --exact")
	exact := flags.Bool("exact", false, "compare every byte of the answers with what the fake provider's script says")
	asJSON := flags.Bool("json", false, "report as JSON")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return usage(err)
	}
	expect, err := expectation(*exact, *script)
	if err != nil {
		return err
	}
	if *fresh > 0 {
		s.Classes = append(s.Classes, loadgen.Class{Name: "fresh", Fresh: true, Rate: *fresh, Expect: expect(false, s.Model)})
	}
	if *conns > 0 {
		s.Classes = append(s.Classes, loadgen.Class{Name: "kept", Conns: *conns, Rate: *rate, Think: *think, Expect: expect(false, s.Model)})
	}
	if *idle > 0 {
		s.Classes = append(s.Classes, loadgen.Class{Name: "idle", Conns: *idle, Idle: true, Expect: expect(false, s.Model)})
	}
	if *streams > 0 {
		model := s.Model
		if *streamModel != "" {
			model = *streamModel
		}
		s.Classes = append(s.Classes, loadgen.Class{Name: "streams", Conns: *streams, Stream: true, Model: model, Expect: expect(true, model)})
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := loadgen.Run(ctx, s)
	if err != nil {
		return err
	}
	if *asJSON {
		err = json.NewEncoder(os.Stdout).Encode(report)
	} else {
		err = report.WriteText(os.Stdout)
	}
	if err == nil && report.Failed() > 0 {
		return fmt.Errorf("%d of %d requests failed: %s", report.Failed(), report.Sent(), kinds(report))
	}
	return err
}

// expectation makes what each class is held against; all nil unless exact.
func expectation(exact bool, script string) (func(stream bool, model string) func([]byte, string) []byte, error) {
	if !exact {
		return func(bool, string) func([]byte, string) []byte { return nil }, nil
	}
	parsed, err := fakeprovider.ParseScript(script)
	if err != nil {
		return nil, err
	}
	return func(stream bool, model string) func([]byte, string) []byte {
		return func(dst []byte, id string) []byte {
			if stream {
				return append(dst, parsed.Shape.Stream(id, model, false)...)
			}
			return append(dst, parsed.Shape.Whole(id, model)...)
		}
	}, nil
}

func kinds(r *loadgen.Report) string {
	var all []string
	for _, c := range r.Classes {
		for kind, n := range c.Kinds {
			all = append(all, fmt.Sprintf("%s %d × %s", c.Name, n, kind))
		}
	}
	return strings.Join(all, ", ")
}

// usage makes the request for help no error.
func usage(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	return err
}
