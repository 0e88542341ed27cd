package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"sluice/internal/boot"
	"sluice/supervisor/fleet"
)

// probe asks one URL, for containers whose image has no other client.
func probe(p *boot.Process, url string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return boot.Exit(fleet.ExitUsage, fmt.Errorf("url %q: %w", url, err))
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is this machine
	resp, err := client.Do(req)
	if err != nil {
		return boot.Exit(fleet.ExitFailed, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return boot.Exit(fleet.ExitFailed, fmt.Errorf("read the answer: %w", err))
	}
	if resp.StatusCode != http.StatusOK {
		return boot.Exit(fleet.ExitFailed, fmt.Errorf("answered %d: %s", resp.StatusCode, body))
	}
	_, err = fmt.Fprintf(p.Stdout, "%s\n", body)
	return err
}
