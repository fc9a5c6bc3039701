package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/acl"
)

// address is host:port or a unix socket.
type address struct {
	network string // "tcp" or "unix"; empty: there was a fault
	text    string // host:port as written, or the socket's absolute path
	shown   string // as written
	host    string
	port    int
	at      acl.Origin
}

// longestSocket is what fits into the kernel's sockaddr_un on every system served.
const longestSocket = 103

// address reads v as host:port or unix:/path. A listener may leave the host out
// (all addresses) and may use port 0 (any free port); a node may not.
func (v value) address(listen bool) address {
	t := v.nonempty()
	a := address{at: v.at}
	if t.Value == "" {
		return a
	}
	if path, ok := strings.CutPrefix(t.Value, "unix:"); ok {
		a = v.socket(strings.TrimPrefix(path, "//"))
		a.shown = t.Value
		if dir := filepath.Dir(a.text); a.network != "" && listen {
			if err := folderExists(dir); err != nil {
				v.fault("can't listen on %s: its folder: %s", quoted(t.Value), reasonOf(err))
			}
		}
		return a
	}
	host, port, err := net.SplitHostPort(t.Value)
	usual := "6379"
	if listen {
		usual = "6380"
	}
	switch {
	case err != nil && strings.HasPrefix(t.Value, "/"):
		v.faultHint("did you mean "+quoted("unix:"+t.Value)+"?", "%s is not an address", quoted(t.Value))
		return a
	case err != nil && isDigits(t.Value):
		v.faultHint("did you mean "+quoted("127.0.0.1:"+t.Value)+"?", "%s is not an address", quoted(t.Value))
		return a
	case err != nil && (isIP(t.Value) || isHostName(t.Value)):
		v.faultHint("add the port, like "+quoted(net.JoinHostPort(strings.Trim(t.Value, "[]"), usual)), "%s has no port", quoted(t.Value))
		return a
	case err != nil:
		v.faultHint("host:port or unix:/path", "%s is not an address", quoted(t.Value))
		return a
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || !isDigits(port):
		v.faultHint("a number from 1 to 65535", "%s has no port that is a number", quoted(t.Value))
	case n == 0 && !listen:
		v.fault("a node can't have port 0")
	case host == "" && !listen:
		v.faultHint("did you mean "+quoted("127.0.0.1:"+port)+"?", "%s has no host", quoted(t.Value))
	case host != "" && !isIP(host) && !isHostName(host):
		v.faultHint("an IP address or a host name, then the port", "%s does not begin with a host", quoted(t.Value))
	default:
		return address{network: "tcp", text: t.Value, shown: t.Value, host: host, port: int(n), at: v.at}
	}
	return a
}

func (v value) socket(path string) address {
	if path == "" {
		v.faultHint("unix:/run/sallyport/redis.sock", "the socket has no path")
		return address{at: v.at}
	}
	path = v.doc.path(path)
	if len(path) > longestSocket {
		v.fault("the socket's path has %d bytes, the system takes at most %d", len(path), longestSocket)
		return address{at: v.at}
	}
	return address{network: "unix", text: path, at: v.at}
}

// path makes a path of the file absolute: relative ones start in the file's folder.
func (d *document) path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(d.dir, p)
}

// local tells whether only this machine can be on the other end. A name other
// than localhost may resolve to anything, so it is not local.
func (a address) local() bool {
	if a.network == "unix" || strings.EqualFold(a.host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(a.host)
	return err == nil && ip.Unmap().IsLoopback()
}

// collides tells whether two listeners can't both have their address.
func (a address) collides(b address) bool {
	if a.network != b.network || a.network == "" {
		return false
	}
	if a.network == "unix" {
		return a.text == b.text
	}
	if a.port != b.port || a.port == 0 {
		return false
	}
	ipA, ipB := bindIP(a.host), bindIP(b.host)
	switch {
	case strings.EqualFold(a.host, b.host) || ipA == ipB && ipA.IsValid():
		return true
	case ipA == netip.IPv6Unspecified() || ipB == netip.IPv6Unspecified():
		return true // dual stack: takes IPv4 as well
	case ipA == netip.IPv4Unspecified():
		return ipB.Is4()
	case ipB == netip.IPv4Unspecified():
		return ipA.Is4()
	}
	return false
}

// bindIP is the address a listener binds: everything where no host is named.
func bindIP(host string) netip.Addr {
	switch {
	case host == "":
		return netip.IPv6Unspecified()
	case strings.EqualFold(host, "localhost"):
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap()
}

func isIP(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(inner, "]"); !ok {
			return false
		}
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}

// isHostName follows RFC 1123, with the underscore that container networks use.
func isHostName(s string) bool {
	if len(s) > 253 || isDigits(strings.ReplaceAll(s, ".", "")) {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}
