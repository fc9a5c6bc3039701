package config

import (
	"io/fs"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/tlsutil"
)

// listener is one entry of listeners:.
type listener struct {
	value
	name      text
	address   address
	mode      fs.FileMode // unix sockets
	tls       *serverFiles
	server    *tlsutil.Server // loaded from tls
	allow     []acl.Text      // nil: loopback only
	notes     []acl.Note      // of allow, by index
	auth      []acl.Text      // nil: every method
	proxy     []netip.Prefix  // who sends a PROXY protocol header
	proxyUnix bool
	renamed   []renaming     // commands.rename
	disabled  []value        // commands.disable
	names     *command.Names // made of both; nil: there are none
	reusePort bool
	anonymous bool
	saidSo    value // anonymous:
	backend   string
	backendAt value
	routes    []route
	routesAt  value
	prefixes  *backend.Prefixes // made of routes; nil: there are none
}

// serverFiles is tls: of a listener.
type serverFiles struct {
	value
	certificate named
	key         named
	clientCA    named
	clientAuth  string // require, optional or off
	minVersion  string // "1.2" or "1.3"
	crls        []named
	crlMissing  tlsutil.CRLMissing
	noTickets   bool
}

// plainName is what listeners and backends may be called: the name is a metric
// label and stands in events.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

func (r *reader) listeners(v value) []listener {
	items := v.list()
	if len(items) == 0 && v.present() && !v.failedHere() {
		v.fault("is empty: nobody could connect")
	}
	out := make([]listener, 0, len(items))
	for _, item := range items {
		r.rest()
		l := r.listener(item.section())
		for _, other := range out {
			if l.name.Value != "" && l.name.Value == other.name.Value {
				r.fault(l.name.At, item.path+".name", "%s is already the name of the listener in line %d", quoted(l.name.Value), other.name.At.Line)
			}
			if l.address.collides(other.address) {
				r.fault(l.address.at, item.path+".address", "%s is already taken by the listener in line %d", quoted(l.address.shown), other.address.at.Line)
				break
			}
		}
		out = append(out, l)
	}
	return out
}

func (r *reader) listener(s *section) listener {
	l := listener{
		value:     s.value,
		name:      s.required("name").name(),
		address:   s.required("address").address(true),
		tls:       r.serverFiles(s.get("tls").section()),
		anonymous: s.get("anonymous").flag(),
		saidSo:    s.get("anonymous"),
		backendAt: s.get("backend"),
	}
	l.backend = l.backendAt.nonempty().Value
	l.readRoutes(s.get("routes"))
	l.allow, l.notes = l.networks(s.get("allow"))
	l.auth = s.get("auth").names()
	l.readNames(s.get("commands").section())
	l.proxyProtocol(s.get("proxy_protocol").section())
	l.mode = l.socketMode(s.get("mode"))
	l.reusePort = l.sharedPort(s.get("reuse_port"))
	r.plaintext(s.get("unsafe_plaintext"), s.get("tls").present(), l.address,
		s.path+".address", "an address that other machines reach needs tls")
	s.close()
	return l
}

// sharedPort reads reuse_port: a process that replaces this one may listen beside it.
func (l *listener) sharedPort(v value) bool {
	on := v.flag()
	if on && l.address.network == "unix" {
		v.faultHint("an address with a port", "a unix socket has one process that listens")
	}
	return on
}

// name reads v as the name of a listener or a backend.
func (v value) name() text {
	t := v.nonempty()
	if t.Value != "" && !plainName.MatchString(t.Value) {
		v.faultHint("letters, digits, - _ and ., at most 64", "%s can't be a name", quoted(t.Value))
		t.Value = ""
	}
	return t
}

// plaintext judges a connection without TLS: this machine only, unless the
// operator says the word. The word where it does nothing is a finding. at and
// what are the address's path and what is wrong with it.
func (r *reader) plaintext(unsafe value, tls bool, a address, path, what string) {
	said := unsafe.flag()
	switch {
	case a.network == "":
	case said && (tls || a.local()):
		unsafe.warn("remove it", "has no effect here")
	case said:
		unsafe.warn("use tls", "passwords, tokens and data cross the network unencrypted")
	case !tls && !a.local():
		r.faultHint(a.at, path, "add tls:, or unsafe_plaintext: true if the network is trusted", "%s", what)
	}
}

// networks reads allow: CIDR blocks, addresses, or the word any.
func (l *listener) networks(v value) ([]acl.Text, []acl.Note) {
	if !v.present() {
		l.lonely()
		return nil, nil
	}
	if l.address.network == "unix" {
		v.warn("remove it; mode: says who may connect", "does not apply to a unix socket")
	}
	items := v.items()
	if len(items) == 0 && !v.failedHere() {
		v.faultHint(`leave it out for loopback only, or write "any"`, "is empty: nobody could connect")
	}
	allow, notes := make([]acl.Text, 0, len(items)), make([]acl.Note, 0, len(items))
	for _, item := range items {
		var note acl.Note
		if item.mapping() {
			entry := item.section()
			item = entry.required("network")
			note = entry.note()
			entry.close()
		}
		t := item.nonempty()
		if t.Value == "" || !l.network(item, t.Value) {
			continue
		}
		allow, notes = append(allow, t.Text), append(notes, note)
	}
	return allow, notes
}

// note reads why, owner and until of an entry.
func (s *section) note() acl.Note {
	return acl.Note{Why: s.get("why").nonempty().Text, Owner: s.get("owner").nonempty().Text, Until: s.get("until").date()}
}

// proxyProtocol reads who is believed about the client's address: everybody
// else is turned away.
func (l *listener) proxyProtocol(s *section) {
	from := s.required("from")
	s.close()
	items := from.items()
	if from.present() && len(items) == 0 && !from.failedHere() {
		from.fault("is empty: nobody could connect")
	}
	for _, item := range items {
		t := item.nonempty()
		unix := l.address.network == "unix"
		switch {
		case t.Value == "":
		case t.Value == "unix" && unix:
			l.proxyUnix = true
		case t.Value == "unix" || unix && l.address.network != "":
			item.faultHint(`unix for a unix socket, networks for an address`, "%s can't be who connects here", quoted(t.Value))
		case t.Value == "any":
			item.faultHint("name the balancers", "any client could then claim any address")
		default:
			prefix, hint := parseNetwork(t.Value)
			if hint != "" {
				item.faultHint(hint, "%s is not a network", quoted(t.Value))
				continue
			}
			if broad(prefix) {
				item.warn("name the balancers", "any client in %s can claim any address", t.Value)
			}
			l.proxy = append(l.proxy, prefix)
		}
	}
}

// items is list, but a single string is a list of one.
func (v value) items() []value {
	if v.present() && v.node.Kind != 0 && len(v.node.Content) == 0 && v.node.ShortTag() == "!!str" {
		return []value{v}
	}
	return v.list()
}

// network judges one entry of allow.
func (l *listener) network(v value, s string) bool {
	if s == "any" {
		if !l.mutual() {
			v.warn("name the networks, or require client certificates", "lets in every address")
		}
		return true
	}
	prefix, hint := parseNetwork(s)
	if hint != "" {
		v.faultHint(hint, "%s is not a network", quoted(s))
		return false
	}
	if broad(prefix) {
		v.warn("name smaller networks", "%s is a large part of the public Internet", s)
	}
	return true
}

func (l *listener) mutual() bool { return l.tls != nil && l.tls.clientAuth == "require" }

// lonely reports a listener that other machines reach but none may use.
func (l *listener) lonely() {
	if l.address.network == "tcp" && !l.address.local() {
		l.r.warn(l.address.at, l.path+".address", `name the networks in allow:, or write allow: any`,
			"other machines reach this address, but without allow: only loopback is let in")
	}
}

// parseNetwork reads a CIDR block or an address. Host bits beyond the prefix are
// a fault: they show that one of the two numbers is not what was meant.
func parseNetwork(s string) (p netip.Prefix, hint string) {
	if addr, err := netip.ParseAddr(s); err == nil {
		if addr.Zone() != "" {
			return p, "an address without its zone"
		}
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), ""
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, `like 10.0.0.0/8, 192.168.1.7, 2001:db8::/32 or the word "any"`
	}
	if p.Addr().Is4In6() {
		return p, "write IPv4 networks in IPv4's form"
	}
	if p.Masked() != p {
		return p, "did you mean " + quoted(p.Masked().String()) + "?"
	}
	return p, ""
}

// broad tells whether a network is public and larger than one site would have.
func broad(p netip.Prefix) bool {
	a := p.Addr()
	private := a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() ||
		netip.MustParsePrefix("100.64.0.0/10").Contains(a)
	if a.Is4() {
		return p.Bits() < 8 || !private && p.Bits() < 16
	}
	return p.Bits() < 7 || !private && p.Bits() < 32
}

// socketMode reads mode of a unix socket; absent is 0660.
func (l *listener) socketMode(v value) fs.FileMode {
	if !v.present() {
		return 0o660
	}
	mode := v.fileMode(0o660)
	if l.address.network == "tcp" {
		v.faultHint("remove it", "only a unix socket has a mode")
	}
	return mode
}

// fileMode reads permissions like "0640"; absent gives standard.
func (v value) fileMode(standard fs.FileMode) fs.FileMode {
	t := v.text()
	if !t.set || v.failedHere() {
		return standard
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(t.Value, "0o"), 8, 16)
	if err != nil || n > 0o777 || len(t.Value) < 3 {
		v.faultHint(`octal digits in quotes, like "`+"0"+strconv.FormatUint(uint64(standard), 8)+`"`, "%s is not a file mode", quoted(t.Value))
		return standard
	}
	if n&0o002 != 0 {
		v.warn("take the last digit's 2 away", "everyone on this machine may write there")
	}
	return fs.FileMode(n)
}

func (r *reader) serverFiles(s *section) *serverFiles {
	if !s.present() {
		return nil
	}
	f := &serverFiles{
		value:       s.value,
		certificate: s.required("certificate").named(),
		key:         s.required("key").named(),
		clientCA:    s.get("client_ca").named(),
		minVersion:  s.get("min_version").word("1.2", "1.2", "1.3"),
	}
	auth := s.get("client_auth")
	f.clientAuth = auth.word("", "require", "optional", "off")
	ca := s.get("client_ca")
	switch {
	case f.clientAuth == "" && ca.present():
		f.clientAuth = "require"
	case f.clientAuth == "":
		f.clientAuth = "off"
	case f.clientAuth == "off" && ca.present():
		auth.warn("remove client_ca, or write client_auth: require", "client_ca is given, but no client is asked for a certificate")
	case f.clientAuth != "off" && !ca.present():
		auth.faultHint("add client_ca", "%s needs the authority that signs the clients' certificates", f.clientAuth)
	}
	lists := s.get("crl")
	for _, item := range lists.items() {
		f.crls = append(f.crls, item.named())
	}
	if lists.present() && len(f.crls) == 0 && !lists.failedHere() {
		lists.faultHint("leave it out if nothing is ever revoked", "is empty: nobody's certificate could be checked")
	}
	missing := s.get("crl_missing")
	if missing.word("refuse", "refuse", "allow") == "allow" {
		f.crlMissing = tlsutil.AllowMissing
		if lists.present() {
			missing.warn("", "a certificate is let in when no revocation list in force speaks about it")
		}
	}
	if missing.present() && !lists.present() {
		missing.warn("name the lists in crl:", "has no effect: no revocation list is named")
	}
	f.noTickets = !s.get("tickets").flagOr(true)
	s.close()
	return f
}
