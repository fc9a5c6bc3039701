package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// Allowed says where data and credentials may go. Nodes and Sentinels name each
// other by addresses of their own choosing; whatever they say, only what is
// named here is ever dialled. Immutable.
type Allowed struct {
	Networks []netip.Prefix
	Names    []string // host names, as they are dialled
}

// ErrNotAllowed: the address is outside of what the configuration allows.
var ErrNotAllowed = errors.New("address is outside nodes_allow")

// Allows reports whether an endpoint that somebody told us of may be dialled. A
// name that is not itself allowed may be where all its addresses are, which
// shows when it is dialled (see dial).
func (a *Allowed) Allows(e Endpoint) bool {
	if a.named(e) {
		return true
	}
	host, _, err := net.SplitHostPort(e.Address)
	if e.Network != "tcp" || err != nil {
		return false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return a.holds(addr)
	}
	return len(a.Networks) > 0
}

func (a *Allowed) named(e Endpoint) bool {
	host, _, err := net.SplitHostPort(e.Address)
	return err == nil && slices.ContainsFunc(a.Names, func(n string) bool { return strings.EqualFold(n, host) })
}

func (a *Allowed) holds(addr netip.Addr) bool {
	addr = addr.Unmap()
	return slices.ContainsFunc(a.Networks, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// dial connects to an endpoint of the configuration (own) or one learned from a
// node. For one learned, the address that a name resolved to is judged as well,
// so that whoever answers for the name can't lead the connection elsewhere.
func (a *Allowed) dial(ctx context.Context, e Endpoint, own bool) (net.Conn, error) {
	d := net.Dialer{}
	if !own && !a.named(e) {
		d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || !a.holds(to.Addr()) {
				return fmt.Errorf("%w: %s", ErrNotAllowed, address)
			}
			return nil
		}
	}
	return d.DialContext(ctx, e.Network, e.Address)
}

// allowedBy completes what the configuration says: without any rule, the hosts
// it names for nodes and Sentinels are all there is.
func allowedBy(o *Options) *Allowed {
	a := &Allowed{Networks: o.Routing.Allow.Networks, Names: o.Routing.Allow.Names}
	if len(a.Networks)+len(a.Names) > 0 {
		return a
	}
	for _, e := range slices.Concat(o.Nodes, o.Routing.Sentinels.Nodes) {
		host, _, err := net.SplitHostPort(e.Address)
		if e.Network != "tcp" || err != nil {
			continue
		}
		if addr, err := netip.ParseAddr(host); err == nil {
			a.Networks = append(a.Networks, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
		} else {
			a.Names = append(a.Names, host)
		}
	}
	return a
}
