package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"sluice/proxy/llm"
)

const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// maxMetrics bounds what is taken from healthd, in bytes.
const maxMetrics = 64 << 20

// metrics is GET /metrics: this worker's own on the private socket, the host's
// merged ones from healthd elsewhere.
func (s *Server) metrics(ctx *fasthttp.RequestCtx, c *conn, k *call) {
	if !c.private && s.c.HealthSocket != "" {
		body, err := fetchMetrics(s.c.HealthSocket)
		if err != nil {
			s.refuse(ctx, c, k, &llm.Error{
				Kind: llm.KindUnavailable, RetryAfter: time.Second,
				Message: "The health daemon does not answer.", Err: err,
			})
			return
		}
		s.write(ctx, c, k, 200, metricsType, body)
		return
	}
	var b bytes.Buffer
	if s.c.Metrics != nil {
		s.c.Metrics(&b)
	}
	s.write(ctx, c, k, 200, metricsType, b.Bytes())
}

// fetchMetrics gets the merged metrics over healthd's unix socket. HTTP/1.0:
// the end of the connection is the end of the body.
func fetchMetrics(socket string) ([]byte, error) {
	d := net.Dialer{Timeout: time.Second}
	nc, err := d.DialContext(context.Background(), "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("reach healthd: %w", err)
	}
	defer func() { _ = nc.Close() }()
	if err := nc.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	if _, err := io.WriteString(nc, "GET /metrics HTTP/1.0\r\nHost: healthd\r\n\r\n"); err != nil {
		return nil, fmt.Errorf("ask healthd: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(nc, maxMetrics))
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	head, body, ok := bytes.Cut(raw, []byte("\r\n\r\n"))
	if !ok || len(head) < 12 || string(head[8:12]) != " 200" {
		return nil, errors.New("healthd's answer is no metrics document")
	}
	return body, nil
}
