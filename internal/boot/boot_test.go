package boot

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	tests := []struct {
		name string
		err  error
		code int
		line string
	}{
		{"no error", nil, 0, ""},
		{"plain", errors.New("open x:\n  no such file"), 1, "proxy: open x:; no such file\n"},
		{"code", Exit(78, errors.New("bad config")), 78, "proxy: bad config\n"},
		{"wrapped code", fmt.Errorf("start: %w", Exit(75, errors.New("busy"))), 75, "proxy: start: busy\n"},
		{"silent code", Exit(78, nil), 78, ""},
	}
	for _, tt := range tests {
		var out strings.Builder
		code := Report(&Process{Program: "proxy", Stderr: &out}, tt.err)
		if code != tt.code || out.String() != tt.line {
			t.Errorf("%s: %d %q, want %d %q", tt.name, code, out.String(), tt.code, tt.line)
		}
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		args []string
		done bool
		code int
		out  string
		port int
	}{
		{args: []string{"--port", "5"}, port: 5},
		{args: nil, port: 4000},
		{args: []string{"--version"}, done: true, out: "proxy dev", port: 4000},
		{args: []string{"--help"}, done: true, out: "The port.", port: 4000},
		{args: []string{"--nonsense"}, code: 64, port: 4000},
		{args: []string{"--port", "x"}, code: 64, port: 4000},
	}
	for _, tt := range tests {
		var cli struct {
			Port int `default:"4000" help:"The port."`
		}
		var out strings.Builder
		p := &Process{Program: "proxy", Args: tt.args, Stdout: &out, Stderr: io.Discard}
		_, done, err := p.Parse(&cli, "Serves.")
		if code := Report(p, err); code != tt.code || done != tt.done || !strings.Contains(out.String(), tt.out) {
			t.Errorf("%q: done %v, code %d, %v, output %q", tt.args, done, code, err, out.String())
		}
		if err == nil && !done && cli.Port != tt.port {
			t.Errorf("%q: port %d", tt.args, cli.Port)
		}
	}
}
