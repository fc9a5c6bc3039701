package acl

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gaissmai/bart"
)

// listener is what a listener contributes to decisions.
type listener struct {
	allow     bart.Table[*Rule]
	anonymous bool
	passwords bool // AUTH with a password is taken
	auth      []string
}

// AdmitAddr decides whether an address may use a listener at all. IPv4-mapped
// IPv6 counts as IPv4 and zones are dropped first; a NAT64 address stays the
// IPv6 address it is. An unknown listener and an invalid address are refused
// whatever the mode. Decision.Rule is the entry that admits the address.
func (p *Policy) AdmitAddr(listener string, addr netip.Addr) Decision {
	l := p.listeners[listener]
	if l == nil || !addr.IsValid() {
		return Decision{Reason: AddressNotAllowed}
	}
	rule, ok := l.allow.Lookup(addr.Unmap().WithZone(""))
	switch {
	case ok:
		return Decision{Allowed: true, Rule: rule}
	case p.modes.Allow == Off:
		return Decision{Allowed: true}
	}
	report := p.modes.Allow == Report
	return Decision{Allowed: report, Reported: report, Reason: AddressNotAllowed}
}

// Takes says whether a listener takes a kind of credential: password, token or
// certificate. An unknown listener takes none.
func (p *Policy) Takes(listener, method string) bool {
	l := p.listeners[listener]
	return l != nil && slices.Contains(l.auth, method)
}

var (
	methods  = []string{"password", "token", "certificate"}
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
)

func (c *compiler) compileListener(src *ListenerSource, listeners map[string]*listener) {
	name, field := src.Name.Value, "listeners."+src.Name.Value
	if listeners[name] != nil {
		c.fail(src.Name.At, field+": defined twice", "")
		return
	}
	l := &listener{anonymous: src.Anonymous, auth: methods}
	listeners[name] = l
	if src.Allow == nil {
		for _, prefix := range loopback {
			l.allow.Insert(prefix, &Rule{Text: "allow: loopback (nothing else is said)", At: src.Name.At})
		}
	} else if len(src.Allow) == 0 {
		c.report(Problem{
			At: src.Name.At, What: field + ".allow: empty, nobody is admitted", Warning: true,
			Hint: `leave it out for loopback only, or say "any"`,
		})
	}
	for _, t := range src.Allow {
		c.addAllow(l, field+".allow: ", t)
	}
	if src.Auth != nil {
		l.auth = nil
	}
	for _, t := range src.Auth {
		if !slices.Contains(methods, t.Value) {
			c.fail(t.At, field+".auth: "+quoted("unknown method", t.Value), "password, token or certificate")
			continue
		}
		l.auth = append(l.auth, t.Value)
	}
	l.passwords = slices.Contains(l.auth, "password")
}

func (c *compiler) addAllow(l *listener, field string, t Text) {
	rule := &Rule{Text: "allow: " + t.Value, At: t.At}
	if t.Value == "any" {
		l.allow.Insert(netip.MustParsePrefix("0.0.0.0/0"), rule)
		l.allow.Insert(netip.MustParsePrefix("::/0"), rule)
		return
	}
	prefix, what, hint := parsePrefix(t.Value)
	if what != "" {
		c.fail(t.At, field+what, hint)
		return
	}
	l.allow.Insert(prefix, rule)
}

// parsePrefix reads a network or an address. An IPv4-mapped one counts as
// IPv4, since that is what addresses are compared as.
func parsePrefix(text string) (prefix netip.Prefix, what, hint string) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			return prefix, quoted("not an address or network:", text), `write 10.0.0.0/8, 192.0.2.7, 2001:db8::/32 or "any"`
		case addr.Zone() != "":
			return prefix, quoted("a zone cannot be told apart here:", text), "did you mean " + strconv.Quote(addr.WithZone("").String()) + "?"
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), "", ""
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, quoted("not an address or network:", text), `write 10.0.0.0/8, 192.0.2.7, 2001:db8::/32 or "any"`
	}
	if masked := prefix.Masked(); masked != prefix {
		return prefix, quoted("bits are set beyond the network's length:", text),
			"did you mean " + strconv.Quote(masked.String()) + "?"
	}
	if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	return prefix, "", ""
}
