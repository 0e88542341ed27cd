package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"sluice/internal/boot"
	"sluice/proxy/config"
	"sluice/proxy/redis"
	"sluice/supervisor/fleet"
)

// redisConfig says how Redis is reached; it names no server where there is none.
func redisConfig(file *config.File) (redis.Config, error) {
	r := &file.Router
	c := redis.Config{Username: r.RedisUsername, Password: r.RedisPassword.Reveal(), Database: r.RedisDB}
	host := r.RedisHost
	switch {
	case r.RedisNodes != nil:
		c.Addresses, c.Cluster, host = r.RedisNodes, true, ""
	case r.RedisSentinels != nil:
		c.Addresses, c.Master, host = r.RedisSentinels, r.RedisService, ""
		c.SentinelUsername, c.SentinelPassword = r.SentinelUser, r.SentinelSecret.Reveal()
	case strings.HasPrefix(host, "/"): // a unix socket
		c.Addresses = []string{host}
	case host != "":
		c.Addresses = []string{net.JoinHostPort(host, strconv.Itoa(r.RedisPort))}
	default:
		return c, nil
	}
	if !r.RedisTLS {
		return c, nil
	}
	var err error
	c.TLS, err = redisTLS(r)
	if c.TLS != nil {
		c.TLS.ServerName = host // "": that of each node
	}
	return c, err
}

// redisTLS reads the files of the settings of TLS.
func redisTLS(r *config.Router) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.RedisCA != "" {
		pem, err := os.ReadFile(r.RedisCA)
		if err != nil {
			return nil, fmt.Errorf("authorities of Redis (ssl_ca_certs): %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("authorities of Redis (ssl_ca_certs): no certificate in %s", r.RedisCA)
		}
	}
	if r.RedisCert != "" {
		key := r.RedisKey
		if key == "" {
			key = r.RedisCert
		}
		pair, err := tls.LoadX509KeyPair(r.RedisCert, key)
		if err != nil {
			return nil, fmt.Errorf("certificate for Redis (ssl_certfile, ssl_keyfile): %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	switch {
	case r.RedisReqs == "none":
		c.InsecureSkipVerify = true
	case r.RedisHostname != nil && !*r.RedisHostname:
		c.InsecureSkipVerify = true // of the name; the chain is verified here
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("redis shows no certificate")
			}
			others := x509.NewCertPool()
			for _, other := range s.PeerCertificates[1:] {
				others.AddCert(other)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: c.RootCAs, Intermediates: others})
			return err
		}
	}
	return c, nil
}

// checkRedis is for the command check: what a server says that cannot be used
// is an error, and so is one that nobody can reach where it is to be strict. A
// configuration is also checked where its Redis is out of reach.
func checkRedis(out io.Writer, file *config.File, strict bool) error {
	if _, err := redisConfig(file); err != nil { // a start refuses it too
		return boot.Exit(fleet.ExitConfig, err)
	}
	err := tryRedis(file)
	if err == nil {
		return nil
	}
	if strict || redis.Mistrusted(err) || redis.Refused(err) || errors.Is(err, redis.ErrUnsupported) {
		return boot.Exit(fleet.ExitConfig, err)
	}
	_, err = fmt.Fprintf(out, "warning: %s; nothing that needs it was checked\n", err)
	return err
}

// startRedis is for a start: whatever is wrong with Redis, the appliance runs
// without it, unless it is to be strict. Files that cannot be read are errors
// of the configuration.
func startRedis(file *config.File, strict bool) error {
	_, err := redisConfig(file)
	if err == nil && strict {
		err = tryRedis(file)
	}
	if err != nil {
		return boot.Exit(fleet.ExitConfig, err)
	}
	return nil
}

// tryRedis says what keeps Redis from being used, nil where there is none.
func tryRedis(file *config.File) error {
	c, err := redisConfig(file)
	if err != nil || !c.Given() {
		return err
	}
	c.Name = "sluice check"
	const patient = 3 * time.Second
	client, err := c.Dial(patient)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if err = redis.Version(ctx, client); err == nil {
		err = redis.Usable(ctx, client, "sluice")
	}
	if err != nil {
		return fmt.Errorf("redis at %s cannot be used: %w", c.Where(), err)
	}
	return nil
}
