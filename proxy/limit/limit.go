// Package limit keeps callers and deployments to their requests and tokens a
// minute and to their parallel requests: exactly on a host, by the host table,
// and within a stated bound over hosts, by Redis.
package limit
