package upstream

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Options are the transport settings of an endpoint. The zero value verifies
// certificates against the system's roots and takes the proxy of Settings.
type Options struct {
	// Proxy is a forward proxy, http(s)://user:password@host:port. Empty
	// means that of Settings, "direct" none.
	Proxy string
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool
	// CAFile is a PEM bundle that replaces the system's roots.
	CAFile string
	// CertFile and KeyFile are the client's certificate and key in PEM. One
	// file may hold both.
	CertFile, KeyFile string
	// ServerName replaces the host of the base URL in SNI and verification.
	ServerName string
	// ForceIPv4 leaves IPv6 addresses aside.
	ForceIPv4 bool
	// Credential keeps the connections of different credentials apart. Only
	// its hash is kept.
	Credential string
	// UnixSocket is connected to in place of the base URL's host.
	UnixSocket string
	// Guard refuses addresses of the base URL's host, where a stranger chose
	// it.
	Guard Guard
}

// Endpoint is where calls go: a base URL with transport settings. Endpoints of
// the same identity (address, SNI, proxy, TLS settings with the files' content,
// credential) share their connections, also across Endpoint calls. It is
// immutable and safe for concurrent use.
type Endpoint struct {
	pool     *pool
	basePath string
}

// Host is what belongs into the Host header: the name, with the port unless it
// is the scheme's own.
func (e *Endpoint) Host() string { return e.pool.target.authority }

// BasePath is the path of the base URL without a slash at its end; "" for the
// root. Do does not add it to paths.
func (e *Endpoint) BasePath() string { return e.basePath }

// target is what the connections of a pool have in common.
type target struct {
	host, port string
	authority  string // of the Host header
	dialer     dialer
	named      string      // what the resolver is asked for; "" if nothing
	tls        *tls.Config // nil for plain HTTP
	prefix     string      // put before the path on the wire: plain HTTP through a proxy
	proxyAuth  string      // added to each request then
}

// Endpoint makes the endpoint of a base URL, http(s)://host:port/path. It
// reads the files that o names; it connects to nothing. Its errors hold no
// secret.
func (p *Pools) Endpoint(baseURL string, o Options) (*Endpoint, error) {
	u, err := parseBase(baseURL)
	if err != nil {
		return nil, err
	}
	e := &Endpoint{basePath: strings.TrimRight(u.EscapedPath(), "/")}
	identity := sha256.New()
	t := &target{host: strings.ToLower(u.Hostname())}
	var standard string
	switch u.Scheme {
	case "https":
		standard = "443"
		if t.tls, err = clientTLS(&o, orElse(o.ServerName, t.host), identity); err != nil {
			return nil, err
		}
	default:
		standard = "80"
	}
	t.port = orElse(u.Port(), standard)
	t.authority = t.host
	if strings.Contains(t.host, ":") {
		t.authority = "[" + t.host + "]"
	}
	if t.port != standard {
		t.authority += ":" + t.port
	}
	if addr, err := netip.ParseAddr(t.host); err == nil && o.Guard.refuses(addr) {
		return nil, ErrRefused // a forward proxy would connect to it for us
	}
	proxy, err := p.route(t, u.Scheme, t.authority, &o)
	if err != nil {
		return nil, err
	}
	identify(identity, u.Scheme, t.host, t.port, proxy, o.ServerName, o.UnixSocket, o.Credential,
		fmt.Sprint(o.InsecureSkipVerify, o.ForceIPv4, o.CAFile != "", o.CertFile != "", o.Guard))
	e.pool = p.pool([sha256.Size]byte(identity.Sum(nil)), t)
	return e, nil
}

// parseBase checks a base URL. Its errors do not repeat it: people put keys
// into URLs.
func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("the base URL is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("the base URL must begin with http:// or https://")
	case !validHost(u.Hostname()):
		return nil, errors.New("the base URL has no valid host")
	case u.User != nil:
		return nil, errors.New("the base URL must not hold a user or a password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("the base URL must not have a query or a fragment")
	}
	return u, nil
}

// validHost accepts addresses and host names in ASCII.
func validHost(h string) bool {
	if _, err := netip.ParseAddr(h); err == nil {
		return true
	}
	for _, c := range []byte(h) {
		ok := c == '-' || c == '.' || c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
		if !ok {
			return false
		}
	}
	return h != ""
}

// route chooses the target's dialer and returns the proxy it goes through.
func (p *Pools) route(t *target, scheme, authority string, o *Options) (string, error) {
	if o.UnixSocket != "" {
		t.dialer = unixDialer{o.UnixSocket}
		return "", nil
	}
	tcp := &tcpDialer{names: p.names, ipv4: o.ForceIPv4, guard: o.Guard}
	t.dialer, t.named = tcp, t.host
	proxy := o.Proxy
	if proxy == "" && !bypass(p.settings.NoProxy, t.host, t.port) {
		proxy = p.settings.HTTPProxy
		if scheme == "https" {
			proxy = p.settings.HTTPSProxy
		}
	}
	if proxy == "" || proxy == "direct" {
		t.named = nameOnly(t.named)
		return "", nil
	}
	via, err := parseForwarder(proxy)
	if err != nil {
		return "", err
	}
	tcp.guard = GuardNone // the operator chose the proxy
	t.dialer = &proxyDialer{next: tcp, via: via, connect: t.tls != nil}
	t.named = nameOnly(via.host)
	if t.tls == nil {
		t.prefix, t.proxyAuth = "http://"+authority, via.auth
	}
	return proxy, nil
}

// nameOnly gives host unless it is an address.
func nameOnly(host string) string {
	if net.ParseIP(host) != nil {
		return ""
	}
	return host
}

// identify adds the parts to the hash so that no two lists hash alike.
func identify(h hash.Hash, parts ...string) {
	var b bytes.Buffer
	for _, s := range parts {
		fmt.Fprintf(&b, "%d:%s", len(s), s)
	}
	h.Write(b.Bytes())
}
