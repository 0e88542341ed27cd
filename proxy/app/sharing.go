package app

import (
	"context"
	"log/slog"
	"strconv"
	"sync"

	"sluice/proxy/budget"
	"sluice/proxy/config"
	"sluice/proxy/limit"
	"sluice/proxy/redis"
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
	return s
}

func (s *sharing) close() {
	s.cancel()
	s.done.Wait()
	s.client.Close()
}
