package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"sluice/proxy/budget"
	"sluice/proxy/config"
	"sluice/proxy/limit"
	"sluice/proxy/redis"
	"sluice/supervisor/fleet"
)

// sharing is the worker's part in limits over several hosts: Redis.
type sharing struct {
	client *redis.Client
	share  *limit.RedisShare
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// openShare connects to Redis in the background; nil where none is configured.
func (w *worker) openShare(file *config.File) *sharing {
	c, err := redisConfig(file)
	if err != nil || !c.Given() {
		return nil // the observer has said what is wrong
	}
	c.Name, c.Log = "sluice proxy slot "+strconv.Itoa(w.slot), w.log.Logger
	if w.slot != 0 { // one worker speaks for all
		c.Log = slog.New(slog.DiscardHandler)
	}
	host := budget.Holder(w.table)
	s := &sharing{client: redis.New(c)}
	s.share = limit.NewRedisShare(limit.RedisConfig{
		Client: s.client, Host: host, Process: strconv.Itoa(w.slot) + "-" + strconv.Itoa(w.number),
		Window: file.General.WindowSize, Fixed: file.General.RateWindow == "fixed",
		Hosts: &w.table.Header().LimitHosts,
	})
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.done.Go(func() { s.share.Run(ctx) })
	if w.table.Header().Redis.Load() == uint32(fleet.DependencyConnected) {
		s.share.Await(time.Second, true)
	} else {
		s.share.Await(250*time.Millisecond, false)
	}
	return s
}

// write writes the figures of this worker's part as metrics.
func (s *sharing) write(to io.Writer) {
	c := s.client.Stats()
	used := uint64(0)
	if c.Up {
		used = 1
	}
	for _, m := range []struct {
		name  string
		value uint64
	}{
		{"sluice_redis_calls_total", c.Calls},
		{"sluice_redis_failed_calls_total", c.Failed},
		{"sluice_redis_breaker_opened_total", c.Opened},
		{"sluice_limits_alone_total", s.share.Alone()},
		{"sluice_workers_using_redis", used}, // they are added up
	} {
		_, _ = fmt.Fprintf(to, "%s %d\n", m.name, m.value)
	}
}

func (s *sharing) close() {
	s.cancel()
	s.done.Wait()
	s.client.Close()
}
