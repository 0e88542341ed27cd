// Command fakeprovider runs the fake provider of chat completions by itself,
// as the upstream of benchmarks and of trials by hand.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"sluice/internal/fakeprovider"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "fakeprovider:", err)
		os.Exit(1)
	}
}

func run() error {
	flags := flag.NewFlagSet("fakeprovider", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:9101", "address to listen on; unix:PATH for a unix socket")
	ledger := flags.Int("ledger", 0, "entries of the ledger kept for GET /ledger")
	raw := flags.Bool("raw", false, "keep the requests as they arrived in the ledger")
	model := flags.String("model", fakeprovider.Model, "the model's name in answers")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return usage(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, err := fakeprovider.New(fakeprovider.Config{Addr: *addr, Ledger: *ledger, Raw: *raw, Model: *model})
	if err != nil {
		return err
	}
	fmt.Println("listening on", p.Addr())
	<-ctx.Done()
	return p.Close()
}

// usage makes the request for help no error.
func usage(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	return err
}
