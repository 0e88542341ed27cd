package config

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/env"
)

// redis completes what the file says about Redis. A URL is the whole truth of
// its level, as with LiteLLM: redis_url replaces the other keys of the file,
// REDIS_URL the other variables. The file wins over the environment.
func (f *File) redis(r *report, secret func(*env.Secret, string)) {
	s := setting{report: r, environ: f.Environ}
	v, file := &f.Router, f.root.get("router_settings")
	f.redisNodes(r, "router_settings.", "redis_startup_nodes", file)
	f.redisMap(r, "router_settings.cache_kwargs", file.get("cache_kwargs"))
	if settings := f.root.get("litellm_settings"); on(settings.get("cache")) {
		params := settings.get("cache_params")
		if kind := params.get("type"); kind == nil || kind.text == "redis" {
			f.redisMap(r, "litellm_settings.cache_params", params)
		}
	}
	defer f.redisCheck(r, file)
	f.redisTLS(r, s)
	if v.RedisURL != "" {
		f.redisURL(r, file.get("redis_url").pos(), "router_settings.redis_url")
		return
	}
	if v.RedisPort > 65535 {
		r.errorf(file.get("redis_port").pos(), "router_settings.redis_port", "a port from 1 to 65535", "is %d", v.RedisPort)
	}
	if v.RedisNodes == nil && v.RedisSentinels == nil && v.RedisHost == "" {
		f.redisVariables(r, secret)
		if v.RedisURL != "" && v.RedisNodes == nil && v.RedisSentinels == nil {
			f.redisURL(r, Pos{File: "REDIS_URL"}, "")
			return
		}
	}
	if v.RedisPort == 0 {
		v.RedisPort = s.whole(defaultRedisPort, 1, 65535, nil, "", "REDIS_PORT", "")
	}
	if file.get("redis_db") == nil && v.RedisDB == 0 {
		v.RedisDB = s.whole(0, 0, most, nil, "", "REDIS_DB", "")
	}
	v.RedisUsername = s.or(v.RedisUsername, "REDIS_USERNAME")
	v.RedisService = s.or(v.RedisService, "REDIS_SERVICE_NAME")
	v.SentinelUser = s.or(v.SentinelUser, "REDIS_SENTINEL_USERNAME")
	secret(&v.RedisPassword, "REDIS_PASSWORD")
	secret(&v.SentinelSecret, "REDIS_SENTINEL_PASSWORD")
}

const defaultRedisPort = 6379

// redisVariables says where Redis is, by the environment.
func (f *File) redisVariables(r *report, secret func(*env.Secret, string)) {
	v := &f.Router
	for name, into := range map[string]*[]string{"REDIS_CLUSTER_NODES": &v.RedisNodes, "REDIS_SENTINEL_NODES": &v.RedisSentinels} {
		text := strings.TrimSpace(f.Environ.Get(name))
		if text == "" {
			continue
		}
		port := defaultRedisPort
		if into == &v.RedisSentinels {
			port = defaultSentinelPort
		}
		list, err := valueOf([]byte(text), nil)
		nodes, ok := []string(nil), err == nil
		if ok {
			nodes, ok = nodesOf(list, port)
		}
		if !ok {
			r.errorf(Pos{File: name}, "", allowedNodes, "is none")
		}
		*into = nodes
	}
	if v.RedisNodes != nil || v.RedisSentinels != nil {
		return
	}
	if secret(&v.RedisURL, "REDIS_URL"); v.RedisURL == "" {
		v.RedisHost = f.Environ.Get("REDIS_HOST")
	}
}

const (
	defaultSentinelPort = 26379
	allowedNodes        = "a list of {host: h, port: n} or [h, n]"
)

// redisNodes reads the lists of a map.
func (f *File) redisNodes(r *report, path, cluster string, from *value) {
	v := &f.Router
	for _, l := range []struct {
		name string
		port int
		into *[]string
	}{{cluster, defaultRedisPort, &v.RedisNodes}, {"sentinel_nodes", defaultSentinelPort, &v.RedisSentinels}} {
		list := from.get(l.name)
		if list == nil || *l.into != nil {
			continue
		}
		nodes, ok := nodesOf(list, l.port)
		if !ok {
			r.errorf(list.at, path+l.name, allowedNodes, "is none")
			continue
		}
		*l.into = nodes
	}
}

// nodesOf reads [{host: h, port: p}], [[h, p]] or ["h:p"].
func nodesOf(v *value, port int) ([]string, bool) {
	if v.is != list {
		return nil, false
	}
	var out []string
	for _, item := range v.items {
		host, number := "", strconv.Itoa(port)
		switch {
		case item.is == mapping:
			if h := item.get("host"); h != nil && h.is == text {
				host = h.text
			}
			if p := item.get("port"); p != nil {
				number = p.text
			}
		case item.is == list && len(item.items) == 2:
			host, number = item.items[0].text, item.items[1].text
		case item.is == text:
			host = item.text
			if h, p, err := net.SplitHostPort(item.text); err == nil {
				host, number = h, p
			}
		}
		n, err := strconv.Atoi(number)
		if host == "" || err != nil || n < 1 || n > 65535 {
			return nil, false
		}
		out = append(out, net.JoinHostPort(host, number))
	}
	return out, true
}

// redisMap takes from a map of client settings what is not known yet. Where it
// says where Redis is and nobody has said so before, that is where it is.
func (f *File) redisMap(r *report, path string, from *value) {
	if from == nil || from.is != mapping {
		return
	}
	var more Redis
	keys := redisKeys()
	for _, e := range from.entries {
		name := e.name
		if slices.Contains(strings.Fields("url host port password username db ssl"), name) {
			name = "redis_" + name
		}
		if k, ok := find(keys, name); ok && k.Kind != Map && checkUse(r, path, k, e) {
			if field, ok := fieldsOf(&more)[k.Name]; ok {
				assign(field, e.value)
			}
		}
	}
	v := &f.Router
	placed := v.RedisURL != "" || v.RedisHost != "" || v.RedisNodes != nil || v.RedisSentinels != nil
	if !placed {
		v.RedisURL, v.RedisHost, v.RedisPort = more.RedisURL, more.RedisHost, more.RedisPort
		f.redisNodes(r, path+".", "redis_startup_nodes", from)
		f.redisNodes(r, path+".", "startup_nodes", from)
	}
	first(&v.RedisPort, more.RedisPort)
	first(&v.RedisUsername, more.RedisUsername)
	first(&v.RedisPassword, more.RedisPassword)
	first(&v.RedisDB, more.RedisDB)
	first(&v.RedisTLS, more.RedisTLS)
	first(&v.RedisService, more.RedisService)
	first(&v.SentinelUser, more.SentinelUser)
	first(&v.SentinelSecret, more.SentinelSecret)
	first(&v.RedisCA, more.RedisCA)
	first(&v.RedisCert, more.RedisCert)
	first(&v.RedisKey, more.RedisKey)
	first(&v.RedisReqs, more.RedisReqs)
	first(&v.RedisHostname, more.RedisHostname)
}

// first keeps what is there, and takes what is not.
func first[T comparable](into *T, other T) {
	var none T
	if *into == none {
		*into = other
	}
}

// redisTLS completes what TLS needs.
func (f *File) redisTLS(r *report, s setting) {
	v := &f.Router
	v.RedisTLS = v.RedisTLS || s.bool("REDIS_SSL")
	v.RedisCA = s.or(v.RedisCA, "REDIS_SSL_CA_CERTS")
	v.RedisCert = s.or(v.RedisCert, "REDIS_SSL_CERTFILE")
	v.RedisKey = s.or(v.RedisKey, "REDIS_SSL_KEYFILE")
	v.RedisReqs = strings.TrimPrefix(strings.ToLower(s.or(v.RedisReqs, "REDIS_SSL_CERT_REQS")), "cert_")
	if v.RedisReqs != "" && !slices.Contains([]string{"required", "optional", "none"}, v.RedisReqs) {
		r.errorf(Pos{File: "REDIS_SSL_CERT_REQS"}, "", "required or none", "is %s", quote(v.RedisReqs))
	}
	if v.RedisHostname == nil && f.Environ.Get("REDIS_SSL_CHECK_HOSTNAME") != "" {
		on := s.bool("REDIS_SSL_CHECK_HOSTNAME")
		v.RedisHostname = &on
	}
}

// redisCheck looks for what contradicts itself.
func (f *File) redisCheck(r *report, file *value) {
	const section = "router_settings"
	v := &f.Router
	switch {
	case v.RedisNodes != nil && v.RedisSentinels != nil:
		r.errorf(file.pos(), section+".sentinel_nodes", "the nodes of a cluster, or sentinels", "stands beside redis_startup_nodes")
	case v.RedisSentinels != nil && v.RedisService == "":
		r.errorf(file.pos(), section+".service_name", "what the sentinels call their master", "is missing beside sentinel_nodes")
	case v.RedisNodes != nil && v.RedisDB != 0:
		r.errorf(file.pos(), section+".redis_db", "0: a cluster has no other", "is %d", v.RedisDB)
	}
}

// pos is where a value of router_settings stands, or their name.
func (v *value) pos() Pos {
	if v == nil {
		return Pos{File: "router_settings"}
	}
	return v.at
}

// on reports whether a value is true.
func on(v *value) bool {
	if v == nil {
		return false
	}
	yes, ok := asBool(v)
	return ok && yes
}

// or is a text, or the variable that stands for it.
func (s setting) or(text, variable string) string {
	if text != "" {
		return text
	}
	return strings.TrimSpace(s.environ.Get(variable))
}

// redisURL takes the URL apart. Its problem does not show it: it may hold a
// password.
func (f *File) redisURL(r *report, at Pos, key string) {
	const allowed = "redis://user:password@host:port/database, rediss:// or unix:///path"
	v := &f.Router
	u, err := url.Parse(strings.TrimSpace(v.RedisURL.Reveal()))
	if err != nil {
		r.errorf(at, key, allowed, "is no URL")
		return
	}
	path, database := strings.TrimPrefix(u.Path, "/"), u.Query().Get("db")
	v.RedisPort, v.RedisDB, v.RedisTLS = defaultRedisPort, 0, u.Scheme == "rediss"
	v.RedisUsername = u.User.Username()
	password, _ := u.User.Password()
	v.RedisPassword = env.Secret(password)
	switch u.Scheme {
	case "redis", "rediss":
		v.RedisHost = u.Hostname()
		if path != "" {
			database = path
		}
	case "unix":
		v.RedisHost = u.Path
	default:
		v.RedisHost = ""
	}
	if v.RedisHost == "" {
		r.errorf(at, key, allowed, "is no URL of Redis")
		return
	}
	if port := u.Port(); port != "" {
		if v.RedisPort, err = strconv.Atoi(port); err != nil || v.RedisPort < 1 || v.RedisPort > 65535 {
			r.errorf(at, key, "a port from 1 to 65535", "has the port %s", quote(port))
		}
	}
	if database != "" {
		if v.RedisDB, err = strconv.Atoi(database); err != nil || v.RedisDB < 0 {
			r.errorf(at, key, "a whole number as database", "has the database %s", quote(database))
		}
	}
}
