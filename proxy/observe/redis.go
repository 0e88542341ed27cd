package observe

import (
	"context"
	"errors"

	"github.com/redis/rueidis"

	"sluice/proxy/redis"
	"sluice/supervisor/fleet"
)

// cache is Redis: a client that is made when it is needed, because making one
// fails while the server is away.
type cache struct {
	config  redis.Config
	client  rueidis.Client
	checked bool // the version is known to be good
	err     error
}

// look asks the version once per connection, and each time for what the
// workers need of it: a server that answers a ping may be full, or a replica.
func (r *cache) look(ctx context.Context) fleet.Dependency {
	if !r.config.Given() {
		return fleet.DependencyAbsent
	}
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	if r.client == nil {
		c := r.config
		c.Name = "sluice-observe"
		if r.client, r.err = c.Dial(patient); r.err != nil {
			r.client = nil
			return r.state()
		}
	}
	if !r.checked {
		if r.err = redis.Version(ctx, r.client); r.err != nil {
			return r.state()
		}
		r.checked = true
	}
	r.err = redis.Usable(ctx, r.client, "sluice")
	return r.state()
}

// state is what an error says of the server. A connection that is no good is
// given up: another server may answer next time.
func (r *cache) state() fleet.Dependency {
	switch {
	case r.err == nil:
		return fleet.DependencyConnected
	case errors.Is(r.err, redis.ErrUnsupported):
		return fleet.DependencyUnsupported
	}
	r.close()
	if redis.Refused(r.err) {
		return fleet.DependencyUnusable
	}
	return fleet.DependencyDown
}

func (r *cache) close() {
	if r.client != nil {
		go r.client.Close() // it waits for answers that nobody waits for any more
	}
	r.client, r.checked = nil, false
}
