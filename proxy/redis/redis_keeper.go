package redis

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// keep looks after the connection until ctx ends: it makes it, looks at once
// when a call has failed, and looks once a second while the breaker is open.
// One line says that Redis is away, one that it is back, whatever lies between.
func (r *Client) keep(ctx context.Context) {
	defer r.drop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	told := false // how it stands; from then on the breaker tells
	for {
		select {
		case <-ctx.Done():
			r.gate.state.Store(open)
			return
		case <-r.wake:
			if r.gate.is() == open { // it has just opened
				timer.Reset(again)
				continue
			}
		case <-timer.C:
		}
		switch r.gate.is() {
		case suspect:
			r.verify(ctx)
		case open:
			err := r.recover(ctx)
			r.tried.Store(err != nil)
			switch {
			case ctx.Err() != nil:
			case err == nil:
				r.gate.reset()
				told = true
				r.config.Log.Info("redis is used", slog.String("redis", r.config.Where()))
			case !told:
				told = true
				r.config.Log.Error("redis is not used", slog.String("redis", r.config.Where()), slog.String("error", err.Error()))
			}
		}
		timer.Reset(again)
	}
}

// verify looks whether a failure was one call's or the server's: until the
// first answer, or until the breaker opens.
func (r *Client) verify(ctx context.Context) {
	for r.gate.is() == suspect && ctx.Err() == nil {
		c := r.live.Load()
		if err := r.look(ctx, c.client); err != nil {
			r.fail(c, err, r.key())
			continue
		}
		r.gate.fails.Store(0)
		r.gate.state.CompareAndSwap(suspect, closed)
	}
}

// key is the one whose call has failed last: its node is the one to look at.
func (r *Client) key() string {
	if f := r.last.Load(); f != nil {
		return tagOf(f.key)
	}
	return "sluice"
}

// tagOf is the part of a key that chooses its node.
func tagOf(key string) string {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			return tag
		}
	}
	return key
}

// look makes one call of the same kind under the same deadline.
func (r *Client) look(ctx context.Context, client rueidis.Client) error {
	ctx, cancel := context.WithTimeout(ctx, r.config.Wait)
	defer cancel()
	return Usable(ctx, client, r.key())
}

// recover brings an open connection back: a look at the one that is there, a
// new one where that fails. A server that answers, but not in time, is not back.
func (r *Client) recover(ctx context.Context) error {
	if c := r.live.Load(); c != nil {
		start := time.Now()
		if err := r.look(ctx, c.client); err == nil {
			if time.Since(start) > r.gate.slow {
				return context.DeadlineExceeded
			}
			return nil
		}
		r.drop()
	}
	client, err := r.config.Dial(dialing)
	if err != nil {
		return err
	}
	if err := r.check(ctx, client); err != nil {
		go client.Close()
		return err
	}
	r.live.Store(&connection{client: client})
	return nil
}

// check decides whether a new connection may be used.
func (r *Client) check(ctx context.Context, client rueidis.Client) error {
	ctx, cancel := context.WithTimeout(ctx, dialing)
	defer cancel()
	if err := Version(ctx, client); err != nil {
		return err
	}
	return Usable(ctx, client, r.key())
}

// drop gives the connection up. Closing waits for the answers of calls that
// have long stopped waiting for them.
func (r *Client) drop() {
	if c := r.live.Swap(nil); c != nil {
		go c.client.Close()
	}
}
