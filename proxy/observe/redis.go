package observe

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"sluice/supervisor/fleet"
)

// oldestRedis is the oldest major version that is used.
const oldestRedis = 7

// Redis says where Redis is.
type Redis struct {
	Address  string // host:port, or the path of a unix socket; empty: none
	Username string
	Password string
	Database int         // number of its database
	TLS      *tls.Config // nil: plain
}

// redis holds a client that is made when it is needed: making one fails while
// the server is away.
type redis struct {
	config  Redis
	client  rueidis.Client
	checked bool // the version is known to be good
	err     error
}

func newRedis(c Redis) *redis { return &redis{config: c} }

// look asks the version once per connection, then pings.
func (r *redis) look(ctx context.Context) fleet.Dependency {
	if r.config.Address == "" {
		return fleet.DependencyAbsent
	}
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	if r.client == nil {
		if r.err = r.open(); r.err != nil {
			return fleet.DependencyDown
		}
	}
	if r.checked {
		r.err = r.client.Do(ctx, r.client.B().Ping().Build()).Error()
	} else {
		var version string
		if version, r.err = r.version(ctx); r.err == nil {
			major, _, _ := strings.Cut(version, ".")
			if n, err := strconv.Atoi(major); err != nil || n < oldestRedis {
				r.err = fmt.Errorf("redis %s: %d.0 or newer is needed", version, oldestRedis)
				return fleet.DependencyUnsupported
			}
			r.checked = true
		}
	}
	if r.err != nil {
		r.close() // another server may answer next time
		return fleet.DependencyDown
	}
	return fleet.DependencyConnected
}

// open makes the smallest client: one connection, small buffers, no client-side
// cache, and the protocol that old servers speak too, so that they can be named.
func (r *redis) open() error {
	option := rueidis.ClientOption{
		InitAddress: []string{r.config.Address}, Username: r.config.Username, Password: r.config.Password,
		SelectDB: r.config.Database, TLSConfig: r.config.TLS, ClientName: "sluice-observe", ForceSingleClient: true,
		DisableCache: true, AlwaysRESP2: true, DisableRetry: true, ClientSetInfo: rueidis.DisableClientSetInfo,
		ReadBufferEachConn: 4 << 10, WriteBufferEachConn: 1 << 10, RingScaleEachConn: 2, PipelineMultiplex: -1,
	}
	option.Dialer.Timeout = patient
	option.ConnWriteTimeout = patient
	if strings.HasPrefix(r.config.Address, "/") {
		option.DialCtxFn = dialUnix
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		return fmt.Errorf("connect to Redis at %s: %w", r.config.Address, err)
	}
	r.client = client
	return nil
}

func dialUnix(ctx context.Context, path string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	return d.DialContext(ctx, "unix", path)
}

// version reads redis_version from INFO. Servers that call themselves
// something else (Valkey) report the version they are compatible with there.
func (r *redis) version(ctx context.Context) (string, error) {
	info, err := r.client.Do(ctx, r.client.B().Info().Section("server").Build()).ToString()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "redis_version:"); ok {
			return v, nil
		}
	}
	return "", fmt.Errorf("redis at %s does not tell its version", r.config.Address)
}

func (r *redis) close() {
	if r.client != nil {
		r.client.Close()
	}
	r.client, r.checked = nil, false
}
