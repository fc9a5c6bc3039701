package config

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/backend"
)

// twemproxyKeys are the keys of a pool that need nothing here: limits and times
// that have keys of their own, with standards that fit.
var twemproxyKeys = []string{
	"timeout", "backlog", "client_connections", "tcpkeepalive", "reuseport", "preconnect", "server_connections",
}

// memcachedPort is the port that twemproxy leaves out of a server's name.
const memcachedPort = "11211"

// ImportTwemproxy reads a configuration of twemproxy and gives a sallyport.yaml
// whose shards hold every key where twemproxy put it. What has no equal stands in
// comments there.
func ImportTwemproxy(path string) (string, Problems) {
	r := newReader(machineIsHere())
	doc := r.open(path, acl.Origin{}, "")
	if doc.root == nil {
		return "", r.finish()
	}
	var listeners, backends strings.Builder
	pools := 0
	r.top(doc).each(func(name acl.Text, v value) {
		pools++
		if !plainName.MatchString(name.Value) {
			r.faultHint(name.At, name.Value, "letters, digits, - _ and ., at most 64", "%s can't be a name", quoted(name.Value))
		}
		r.pool(name.Value, v.section(), &listeners, &backends)
	})
	if pools == 0 && !r.failed() {
		r.top(doc).fault("names no pool")
	}
	if r.failed() {
		return "", r.finish()
	}
	return "listeners:\n" + listeners.String() + "backends:\n" + backends.String() + "policy:\n  file: policy.yaml\n", r.finish()
}

// pool writes one pool of twemproxy as a listener and a backend.
func (r *reader) pool(name string, s *section, listeners, backends *strings.Builder) {
	kept := s.get("redis")
	if !kept.flag() && s.present() {
		kept.faultHint("only pools with redis: true can be imported", "this pool is of memcached")
	}
	r.poolListener(name, s, listeners)
	fmt.Fprintf(backends, "  %s:\n    topology: sharded\n", name)
	fmt.Fprintf(backends, "    distribution: %s\n", s.get("distribution").word("ketama", backend.Distributions()...))
	fmt.Fprintf(backends, "    hash: %s\n", s.get("hash").word("fnv1a_64", backend.Hashes()...))
	if tag := s.get("hash_tag").nonempty().Value; tag != "" {
		if len(tag) != 2 {
			s.get("hash_tag").fault("a hash tag is two characters")
		}
		fmt.Fprintf(backends, "    hash_tag: %s\n", strconv.Quote(tag))
	}
	backends.WriteString("    nodes:\n")
	for _, item := range s.required("servers").list() {
		r.shardOf(item, backends)
	}
	if s.get("redis_auth").present() {
		fmt.Fprintf(backends, "    password_file: secrets/%s   # redis_auth of the nodes; clients have users of their own\n", name)
	}
	if db := s.get("redis_db").number(0, 0, 1<<31-1); db != 0 {
		fmt.Fprintf(backends, "    # redis_db was %d: have clients SELECT it\n", db)
	}
	r.poolEjection(s, backends)
	for _, key := range twemproxyKeys {
		s.get(key)
	}
	s.close()
}

// poolEjection writes when a dead node gives its keys to the others.
func (r *reader) poolEjection(s *section, out *strings.Builder) {
	on := s.get("auto_eject_hosts").flag()
	failures := s.get("server_failure_limit").number(ejectFailures, 0, 1000)
	retry := time.Duration(s.get("server_retry_timeout").number(int(ejectRetry/time.Millisecond), 0, math.MaxInt32)) * time.Millisecond
	if on {
		fmt.Fprintf(out, "    eject: { failures: %d, retry: %s }   # auto_eject_hosts: right for a cache, wrong for a store\n",
			max(failures, 1), max(retry, time.Millisecond))
	}
}

func (r *reader) poolListener(name string, s *section, out *strings.Builder) {
	listen := s.required("listen")
	t := listen.nonempty().Value
	if t == "" {
		return
	}
	host, _, err := net.SplitHostPort(t)
	switch {
	case strings.HasPrefix(t, "/"):
		t, _, _ = strings.Cut(t, " ") // a mode may follow
		t, host = "unix:"+t, "127.0.0.1"
	case err != nil:
		listen.faultHint("host:port or a path", "%s is not an address", quoted(t))
		return
	}
	fmt.Fprintf(out, "  - name: %s\n    address: %s\n    backend: %s\n", name, strconv.Quote(t), name)
	if !(address{network: "tcp", host: host}).local() {
		out.WriteString("    # twemproxy speaks plaintext to everybody; choose what is right here:\n" +
			"    # tls: { certificate: …, key: … }\n    # allow: [10.0.0.0/8]\n    # unsafe_plaintext: true\n")
	}
}

// shardOf reads "host:port:weight name", the name being optional.
func (r *reader) shardOf(item value, out *strings.Builder) {
	t := item.nonempty().Value
	if t == "" {
		return
	}
	where, name, _ := strings.Cut(t, " ")
	cut := strings.LastIndexByte(where, ':')
	if cut < 0 {
		item.faultHint("host:port:weight, then a name", "%s is no server", quoted(t))
		return
	}
	at, text := where[:cut], where[cut+1:]
	weight, err := strconv.Atoi(text)
	host, port, wrong := net.SplitHostPort(at)
	switch {
	case strings.HasPrefix(at, "/"):
		item.faultHint("give the node a port", "a shard on a unix socket can't be imported")
		return
	case wrong != nil || host == "" || !isDigits(port) || !isDigits(text) || err != nil:
		item.faultHint("host:port:weight, then a name", "%s is no server", quoted(t))
		return
	case weight < 1 || weight > maxWeight:
		item.fault("weight %d is not between 1 and %d", weight, maxWeight)
		return
	}
	if name = strings.TrimSpace(name); name == "" {
		if name = at; port == memcachedPort {
			name = host
		}
	}
	fmt.Fprintf(out, "      - { address: %s, name: %s, weight: %d }\n", strconv.Quote(at), strconv.Quote(name), weight)
}
