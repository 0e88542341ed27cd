package config

import "sluice/internal/env"

// Redis is what router_settings says of Redis, after cache_kwargs, cache_params
// and the environment have completed it. Who has no address has no Redis.
type Redis struct {
	RedisHost     string     `cfg:"redis_host"` // or the path of a unix socket
	RedisPort     int        `cfg:"redis_port"`
	RedisUsername string     `cfg:"redis_username"`
	RedisPassword env.Secret `cfg:"redis_password"`
	RedisDB       int        `cfg:"redis_db"`
	RedisTLS      bool       `cfg:"redis_ssl"`
	RedisURL      env.Secret `cfg:"redis_url"`

	RedisNodes     []string   // of redis_startup_nodes, host:port; of a cluster
	RedisSentinels []string   // of sentinel_nodes, host:port
	RedisService   string     `cfg:"service_name"` // what the sentinels call their master
	SentinelUser   string     `cfg:"sentinel_username"`
	SentinelSecret env.Secret `cfg:"sentinel_password"`

	RedisCA       string `cfg:"ssl_ca_certs"`       // file of authorities
	RedisCert     string `cfg:"ssl_certfile"`       // file of the client's certificate
	RedisKey      string `cfg:"ssl_keyfile"`        // file of its key; "": with the certificate
	RedisReqs     string `cfg:"ssl_cert_reqs"`      // required, or none: any certificate will do
	RedisHostname *bool  `cfg:"ssl_check_hostname"` // false: any name will do
}

// redisKeys are the rows of router_settings for Redis. cache_kwargs and
// cache_params have the same ones, those that begin with redis_ without it.
func redisKeys() []Key {
	return []Key{
		{Name: "redis_host", Kind: Text, Default: "`REDIS_HOST`", Doc: "Redis, 7.0 or newer. What this section does not say about Redis, `cache_kwargs` does, then `cache_params` of `litellm_settings` where `cache` is on and their `type` is redis, then the environment"},
		{Name: "redis_port", Kind: Int, Default: "`REDIS_PORT`, 6379", Doc: "its port"},
		{Name: "redis_password", Kind: Secret, Default: "`REDIS_PASSWORD`", Doc: "its password"},
		{Name: "redis_username", Kind: Text, Default: "`REDIS_USERNAME`", Doc: "its user; what it must be allowed to do is in operations.md"},
		{Name: "redis_db", Kind: Int, Default: "`REDIS_DB`, 0", Doc: "its database; a cluster has only 0"},
		{Name: "redis_ssl", Kind: Bool, Default: "`REDIS_SSL`", Doc: "TLS to it"},
		{Name: "redis_url", Kind: Secret, Default: "`REDIS_URL`", Doc: "all of these in one, `redis://user:password@host:port/database`, `rediss://` for TLS, `unix:///path`; it replaces the others of this section; `REDIS_URL` those of the environment, and none of this section"},
		{Name: "redis_startup_nodes", Kind: List, Default: "`REDIS_CLUSTER_NODES` (JSON)", Doc: "nodes of a Redis Cluster, `[{host: h, port: 6379}]`: some of them, in place of `redis_host`"},
		{Name: "sentinel_nodes", Kind: List, Default: "`REDIS_SENTINEL_NODES` (JSON)", Doc: "sentinels, `[[host, 26379]]`, in place of `redis_host`"},
		{Name: "service_name", Kind: Text, Default: "`REDIS_SERVICE_NAME`", Doc: "what the sentinels call their master"},
		{Name: "sentinel_username", Kind: Text, Default: "`REDIS_SENTINEL_USERNAME`", Doc: "user at the sentinels"},
		{Name: "sentinel_password", Kind: Secret, Default: "`REDIS_SENTINEL_PASSWORD`", Doc: "password at the sentinels"},
		{Name: "ssl_ca_certs", Kind: Text, Default: "`REDIS_SSL_CA_CERTS`, those of the system", Doc: "file of the authorities that Redis' certificate is checked against"},
		{Name: "ssl_certfile", Kind: Text, Default: "`REDIS_SSL_CERTFILE`", Doc: "file of the certificate to show to Redis"},
		{Name: "ssl_keyfile", Kind: Text, Default: "`REDIS_SSL_KEYFILE`", Doc: "file of its key, where it is not in the same file"},
		{
			Name: "ssl_cert_reqs", Kind: Text, Default: "`REDIS_SSL_CERT_REQS`, required", Doc: "none: Redis' certificate is not checked",
			OneOf: []string{"required", "none", "optional", "CERT_REQUIRED", "CERT_NONE", "CERT_OPTIONAL"},
		},
		{Name: "ssl_check_hostname", Kind: Bool, Default: "`REDIS_SSL_CHECK_HOSTNAME`, true", Doc: "false: the certificate need not be for that name"},
		{Name: "cache_kwargs", Kind: Map, Doc: "further settings of Redis' client: those of this list, without `redis_`; others have no effect in this release"},
	}
}
