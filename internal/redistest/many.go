package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// MasterName is what the sentinel of Sentinels calls its master.
const MasterName = "sluicemaster"

// Cluster starts three masters that share the slots, and replicas of the first
// one. The replicas come last.
func Cluster(tb testing.TB, replicas int) []*Server {
	tb.Helper()
	var all []*Server
	for range 3 + replicas {
		_, bus, _ := net.SplitHostPort(free(tb, "127.0.0.1"))
		all = append(all, New(tb, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "1000",
			"--cluster-config-file", "nodes.conf", "--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"))
	}
	for i, from := range []string{"0 5460", "5461 10922", "10923 16383"} {
		all[i].Do(tb, append([]string{"CLUSTER", "ADDSLOTSRANGE"}, strings.Fields(from)...)...)
		all[i].Do(tb, "CONFIG", "SET", "cluster-require-full-coverage", "no")
	}
	for _, s := range all[1:] {
		host, port, _ := net.SplitHostPort(s.Addr)
		bus := s.args[3]
		all[0].Do(tb, "CLUSTER", "MEET", host, port, bus)
	}
	first := all[0].Do(tb, "CLUSTER", "MYID")
	for _, s := range all {
		s.wait(tb, func() error {
			if info := s.Do(tb, "CLUSTER", "INFO"); !strings.Contains(info, "cluster_state:ok") ||
				!strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", len(all))) {
				return fmt.Errorf("the cluster is not whole: %s", info)
			}
			return nil
		})
	}
	for _, s := range all[3:] {
		s.wait(tb, func() error {
			if said := s.Do(tb, "CLUSTER", "REPLICATE", first); said != "OK" {
				return fmt.Errorf("replicate: %s", said)
			}
			return nil
		})
		s.Following(tb)
	}
	return all
}

// Following waits until the server has a copy of its master.
func (s *Server) Following(tb testing.TB) {
	tb.Helper()
	s.wait(tb, func() error {
		if info := s.Do(tb, "INFO", "replication"); !strings.Contains(info, "master_link_status:up") {
			return fmt.Errorf("does not follow its master: %s", info)
		}
		return nil
	})
}

// Sentinels starts a master, a replica of it, and a sentinel that watches them
// and has the last word, with a password of its own where one is given.
func Sentinels(tb testing.TB, password string) (master, replica, sentinel *Server) {
	tb.Helper()
	master = New(tb, "--repl-diskless-sync-delay", "0")
	host, port, _ := net.SplitHostPort(master.Addr)
	replica = New(tb, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	replica.Following(tb)
	sentinel = &Server{Addr: free(tb, "127.0.0.1"), dir: tb.TempDir(), args: []string{"--sentinel"}}
	_, own, _ := net.SplitHostPort(sentinel.Addr)
	text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsentinel monitor %s %s %s 1\n", own, sentinel.dir, MasterName, host, port) +
		fmt.Sprintf("sentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 2000\n", MasterName)
	if password != "" {
		text += "requirepass " + password + "\n"
	}
	sentinel.file = filepath.Join(sentinel.dir, "sentinel.conf")
	if err := os.WriteFile(sentinel.file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	sentinel.Start(tb)
	tb.Cleanup(func() { sentinel.end(syscall.SIGKILL) })
	return master, replica, sentinel
}

// TLS starts a server that speaks nothing but TLS and wants a certificate of
// the client. dir has ca.crt, client.crt and client.key.
func TLS(tb testing.TB) (s *Server, dir string) {
	tb.Helper()
	dir = tb.TempDir()
	authority, key := certificate(tb, dir, "ca", nil, nil)
	certificate(tb, dir, "server", authority, key)
	certificate(tb, dir, "client", authority, key)
	plain := New(tb)
	s = &Server{Addr: free(tb, "127.0.0.1"), dir: plain.dir}
	_, port, _ := net.SplitHostPort(s.Addr)
	plain.Stop(tb)
	plain.args = []string{
		"--tls-port", port, "--tls-ca-cert-file", filepath.Join(dir, "ca.crt"),
		"--tls-cert-file", filepath.Join(dir, "server.crt"), "--tls-key-file", filepath.Join(dir, "server.key"),
	}
	plain.Start(tb)
	return s, dir
}

// certificate writes NAME.crt and NAME.key, signed by an authority or, without
// one, by itself.
func certificate(tb testing.TB, dir, name string, authority *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		BasicConstraintsValid: true, IsCA: authority == nil,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if authority == nil {
		authority, by = c, key
	}
	signed, err := x509.CreateCertificate(rand.Reader, c, authority, &key.PublicKey, by)
	if err != nil {
		tb.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	for ext, block := range map[string]*pem.Block{
		".crt": {Type: "CERTIFICATE", Bytes: signed}, ".key": {Type: "EC PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(dir, name+ext), pem.EncodeToMemory(block), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return c, key
}
