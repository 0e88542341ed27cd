package gateway

import (
	"log/slog"
	"unsafe"

	"sluice/proxy/llm"
)

// Settle ends the exchange: metrics and the one line of the log. It is called
// exactly once, whatever happened, by whoever wrote the last byte.
func (x *Exchange) Settle() {
	g := x.g
	if g == nil {
		return
	}
	defer func() { x.g = nil }()
	if x.open != nil { // left open only after a panic
		x.open.Close()
	}
	if x.Err == nil && Cause(x.cause.Load()) == CauseClientGone && x.Status == 0 {
		x.Err = &llm.Error{Kind: llm.KindClientGone}
	}
	if x.Err != nil && !x.Streamed {
		x.Status = x.Err.HTTPStatus()
	}
	x.finishSpending()
	now := g.now()
	if x.Streamed && x.began > 0 {
		x.UpstreamNanos = now - x.began
	}
	g.metrics.settled(x, now)
	if g.log != nil {
		x.logLine(g.log, now)
	}
}

// lineLevel says how much an exchange's line matters, and which it is.
func (x *Exchange) lineLevel() (slog.Level, string) {
	e := x.Err
	switch {
	case e == nil:
		return slog.LevelInfo, lineDone
	case e.HTTPStatus() >= 500 || e.Kind == llm.KindTimeout || e.Kind == llm.KindAuth && x.Attempts > 0:
		return slog.LevelWarn, lineFailed
	default:
		return slog.LevelInfo, lineFailed
	}
}

// Lines of the log. An exchange that failed through our or a provider's fault
// is a warning; a client's mistake is not.
const (
	lineDone   = "request"
	lineFailed = "request failed"
)

func (x *Exchange) logLine(log Log, now int64) {
	level, line := x.lineLevel()
	if level < log.Level() {
		return
	}
	attrs := append(x.attrs[:0],
		slog.String("id", view(x.ID[:])), slog.String("route", x.Route), slog.Int("status", x.Status),
		slog.String("model", x.modelName()), slog.Float64("duration_ms", millis(now-x.Start)),
	)
	if d := x.Deployment; d != nil {
		attrs = append(attrs, slog.String("deployment", d.ID), slog.String("provider", d.Provider), slog.Int("attempts", x.Attempts),
			slog.Float64("upstream_ms", millis(x.UpstreamNanos)))
	}
	attrs = x.callerAttrs(attrs)
	if x.FirstByte > 0 {
		attrs = append(attrs, slog.Float64("first_byte_ms", millis(x.FirstByte-x.Start)))
	}
	attrs = append(attrs, slog.Bool("stream", x.Streamed), slog.Int64("input_tokens", x.Usage.Input), slog.Int64("output_tokens", x.Usage.Output))
	if x.Usage.Estimated {
		attrs = append(attrs, slog.Bool("usage_estimated", true))
	}
	if len(x.Remote) > 0 {
		attrs = append(attrs, slog.String("client", view(x.Remote)))
	}
	if e := x.Err; e != nil {
		attrs = append(attrs, slog.String("error_kind", e.Kind.String()), slog.String("error_code", e.CodeText()))
		if e.Err != nil {
			attrs = append(attrs, slog.String("cause", e.Err.Error()))
		}
	}
	log.Emit(level, line, attrs)
	clear(attrs)
	x.attrs = attrs
}

// callerAttrs adds who called, where it is not the master key.
func (x *Exchange) callerAttrs(attrs []slog.Attr) []slog.Attr {
	c := &x.Caller
	if c.Master || c.KeyHash[0] == 0 {
		if len(x.EndUser) == 0 {
			return attrs
		}
	} else {
		attrs = append(attrs, slog.String("key_hash", view(c.KeyHash[:])))
	}
	for _, a := range [...]struct{ name, value string }{
		{"key_alias", c.Alias},
		{"team", c.Team},
		{"team_alias", c.TeamAlias},
		{"user", c.User},
		{"end_user", view(x.EndUser[:min(len(x.EndUser), maxShown)])},
	} {
		if a.value != "" && (!c.Master || a.name != "user") {
			attrs = append(attrs, slog.String(a.name, a.value))
		}
	}
	return attrs
}

// maxShown bounds what the log repeats of a client's words, in bytes.
const maxShown = 200

// modelName is what the log says that was asked for, bounded.
func (x *Exchange) modelName() string {
	const most = 200
	if m := x.Request.Model; len(m) > 0 {
		return view(m[:min(len(m), most)])
	}
	return x.Model
}

func millis(nanos int64) float64 { return float64(nanos/1000) / 1000 }

// view is b as a string for the time of a call that keeps nothing.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
