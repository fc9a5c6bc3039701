package config

import (
	"net/netip"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/tlsutil"
)

// topology is what a backend of several nodes says besides.
type topology struct {
	kind     backend.Kind
	sentinel *sentinelConfig // of topology sentinel
	control  *credentials    // nil: as everybody
	allow    backend.Allowed
	wait     time.Duration
	whole    bool // calls over several shards are refused, not split
	reads    reading
	announce string                // where cluster clients find this proxy
	members  []backend.Member      // of topology sharded: nodes, as they are placed
	spread   *backend.Distribution // of topology sharded
	slotted  bool                  // of topology sharded: its nodes have slots
	ranges   []backend.SlotRange   // which
	eject    backend.Ejection      // of topology sharded
}

// sentinelConfig is sentinel: of a backend.
type sentinelConfig struct {
	value
	login  credentials
	master string
	nodes  []address
	tls    *clientFiles
	client *tlsutil.Client // loaded from tls
}

// kinds are the topologies that work, by their names here.
var kinds = map[string]backend.Kind{
	"standalone": backend.Standalone, "replicated": backend.Replicated, "sentinel": backend.Sentinel,
	"cluster": backend.Cluster, "sharded": backend.Sharded,
}

// maxNodes bounds how many nodes a backend names: each is asked in turn.
const maxNodes = 1000

func topologyKind(v value) backend.Kind {
	t := v.text()
	if !t.set || v.failedHere() {
		return backend.Standalone
	}
	return kinds[v.word("standalone", "standalone", "replicated", "sentinel", "cluster", "sharded")]
}

// nodes reads where a backend is found. Sentinels know it by themselves.
func (r *reader) nodes(b *backendConfig, s *section) []address {
	v, kind := s.get("nodes"), b.kind
	if kind == backend.Sentinel {
		if v.present() {
			v.faultHint("remove it", "the Sentinels say where the nodes are")
		}
		return nil
	}
	v = s.required("nodes")
	items := v.list()
	switch {
	case !v.present() || v.failedHere():
		return nil
	case len(items) == 0:
		v.fault("is empty: there is nothing to forward to")
		return nil
	case kind == backend.Standalone && len(items) > 1:
		items[1].faultHint("name the topology: replicated, for a primary and its replicas", "a standalone backend has exactly one node")
	case kind == backend.Replicated && len(items) < 2:
		v.faultHint("name all nodes: which one is the primary is found out", "a primary and its replicas are two nodes at least")
	case len(items) > maxNodes:
		v.fault("names more than %d nodes", maxNodes)
		return nil
	}
	unsafe, secured := s.get("unsafe_plaintext"), s.get("tls").present()
	if kind == backend.Sharded {
		items = b.sharedOut(items)
	}
	return addresses(items, kind != backend.Standalone, func(a address, path string) {
		r.plaintext(unsafe, secured, a, path, "a node on another machine needs tls")
	})
}

// addresses reads nodes, each once, and has each judged. Of several none can be a unix socket: nodes
// find each other by host and port.
func addresses(items []value, several bool, judge func(a address, path string)) []address {
	var out []address
	for _, item := range items {
		a := item.address(false)
		if several && a.network == "unix" {
			item.faultHint("host:port", "one of several nodes can't be a unix socket")
			continue
		}
		for _, b := range out {
			if a.network != "" && a.text == b.text {
				item.fault("stands here twice")
			}
		}
		if a.network != "" {
			judge(a, item.path)
			out = append(out, a)
		}
	}
	return out
}

// several reads control, and what concerns backends of several nodes only.
func (r *reader) several(b *backendConfig, s *section) {
	b.reading(s)
	sentinel, allow, wait, control := s.get("sentinel"), s.get("nodes_allow"), s.get("wait"), s.get("control")
	if b.kind == backend.Sharded && allow.present() {
		allow.faultHint("remove it", "the nodes of shards are those named here")
	}
	if c := control.section(); c.present() {
		c.required("user")
		login := loginAs(c)
		b.control = &login
		c.close()
	}
	if b.kind == backend.Standalone {
		for _, v := range []value{allow, wait, sentinel, s.get("eject")} {
			if v.present() {
				v.faultHint("name the topology, or remove it", "a standalone backend is one node")
			}
		}
		return
	}
	b.spreading(s)
	unsafe, secured := s.get("unsafe_plaintext"), s.get("tls").present()
	b.wait = wait.duration(2*time.Second, true)
	r.nodesAllow(b, allow, unsafe, secured)
	switch {
	case b.kind == backend.Sentinel:
		b.sentinel = r.sentinelSection(s.required("sentinel").section(), unsafe)
	case sentinel.present():
		sentinel.faultHint("write topology: sentinel", "only topology sentinel has Sentinels")
	}
}

func (r *reader) sentinelSection(s *section, unsafe value) *sentinelConfig {
	if !s.present() {
		return nil
	}
	c := &sentinelConfig{
		value:  s.value,
		master: s.required("name").nonempty().Value,
		login:  loginAs(s),
		tls:    r.clientFiles(s.get("tls").section()),
	}
	nodes := s.required("nodes")
	items := nodes.list()
	switch {
	case len(items) > maxNodes:
		nodes.fault("names more than %d Sentinels", maxNodes)
	case nodes.present() && !nodes.failedHere() && len(items) == 0:
		nodes.fault("is empty: somebody has to say who the primary is")
	case len(items) == 1 || len(items) == 2:
		nodes.warn("name three, on three machines", "%d can't outvote one that is wrong", len(items))
	}
	c.nodes = addresses(items, true, func(a address, path string) {
		r.plaintext(unsafe, c.tls != nil, a, path, "a Sentinel on another machine needs tls")
	})
	s.close()
	return c
}

// nodesAllow reads where data may go: networks, addresses and host names.
func (r *reader) nodesAllow(b *backendConfig, v, unsafe value, secured bool) {
	items := v.items()
	if v.present() && len(items) == 0 && !v.failedHere() {
		v.faultHint("leave it out: then only the hosts named here are used", "is empty: no node could be used")
	}
	for _, item := range items {
		t := item.nonempty()
		if t.Value == "" {
			continue
		}
		local := false
		prefix, hint := parseNetwork(t.Value)
		_, err := netip.ParsePrefix(t.Value)
		switch {
		case hint == "":
			b.allow.Networks = append(b.allow.Networks, prefix)
			local = prefix.Addr().IsLoopback() && prefix.Bits() >= 8
			if broad(prefix) {
				item.warn("name smaller networks", "%s is a large part of the public Internet", t.Value)
			}
		case err != nil && isHostName(t.Value):
			b.allow.Names = append(b.allow.Names, t.Value)
			local = t.Value == "localhost"
		default:
			if err != nil {
				hint = "like 10.0.0.0/8, 192.168.1.7 or redis-1.internal"
			}
			item.faultHint(hint, "%s is neither a network nor a host name", quoted(t.Value))
			continue
		}
		if !local && !secured && !unsafe.flag() {
			item.faultHint("add tls:, or unsafe_plaintext: true if the network is trusted", "a node on another machine needs tls")
		}
	}
}

// routing gives the options of a backend of several nodes.
func (b *backendConfig) routing() backend.Routing {
	o := backend.Routing{
		Kind: b.kind, Allow: b.allow, Wait: b.wait, Whole: b.whole, Announce: b.announce, Distribution: b.spread, Ranges: b.ranges, Eject: b.eject,
		Reads: b.reads.from, Zone: b.reads.zone, MaxLag: b.reads.maxLag,
	}
	if c := b.control; c != nil {
		o.Control = &backend.Login{User: c.user, Password: c.ask()}
		if b.client != nil {
			o.Control.TLS = b.client.Config
		}
	}
	if c := b.sentinel; c != nil {
		o.Sentinels = backend.Sentinels{Name: c.master, Login: backend.Login{User: c.login.user, Password: c.login.ask()}}
		for _, n := range c.nodes {
			o.Sentinels.Nodes = append(o.Sentinels.Nodes, backend.Endpoint{Network: n.network, Address: n.text})
		}
		if c.client != nil {
			o.Sentinels.Login.TLS = c.client.Config
		}
	}
	return o
}

// files gives the files by which a backend of several nodes is known, and knows it.
func (t *topology) files() []string {
	var out []string
	if t.control != nil {
		out = append(out, t.control.passwordFile.path)
	}
	if c := t.sentinel; c != nil {
		out = append(out, c.login.passwordFile.path)
		if f := c.tls; f != nil {
			out = append(out, f.ca.path, f.certificate.path, f.key.path)
		}
	}
	return out
}
