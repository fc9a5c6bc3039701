package acl

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gaissmai/bart"
)

// listener is what a listener contributes to decisions.
type listener struct {
	allow     bart.Table[*Rule]
	entries   []allowEntry // in the order written
	anonymous bool
	methods   Factors // it takes, FactorNetwork aside
}

// allowEntry is one network of an allow list.
type allowEntry struct {
	prefixes []netip.Prefix
	rule     *Rule
	note     note
}

// fill puts into the allow list what has not ended.
func (l *listener) fill(now time.Time) {
	l.allow = bart.Table[*Rule]{}
	for i := range l.entries {
		if e := &l.entries[i]; !e.note.ended(now) {
			for _, prefix := range e.prefixes {
				l.allow.Insert(prefix, e.rule)
			}
		}
	}
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
	f, ok := factorOf(method)
	return l != nil && ok && l.methods&f != 0
}

var (
	anywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
)

func (c *compiler) compileListener(src *ListenerSource, listeners map[string]*listener) {
	name, field := src.Name.Value, "listeners."+src.Name.Value
	if listeners[name] != nil {
		c.fail(src.Name.At, field+": defined twice", "")
		return
	}
	l := &listener{anonymous: src.Anonymous, methods: everyMethod}
	listeners[name] = l
	if src.Allow == nil {
		l.entries = []allowEntry{{loopback, &Rule{Text: "allow: loopback (nothing else is said)", At: src.Name.At}, note{}}}
	} else if len(src.Allow) == 0 {
		c.report(Problem{
			At: src.Name.At, What: field + ".allow: empty, nobody is admitted", Warning: true,
			Hint: `leave it out for loopback only, or say "any"`,
		})
	}
	for i, t := range src.Allow {
		var n note
		if i < len(src.AllowNotes) {
			n = c.note(field+".allow "+strconv.Quote(t.Value), src.AllowNotes[i])
		}
		c.addAllow(l, field+".allow", t, n)
	}
	l.fill(c.now)
	if src.Auth != nil {
		l.methods = 0
	}
	for _, t := range src.Auth {
		f, ok := factorOf(t.Value)
		if !ok || f&everyMethod == 0 {
			c.fail(t.At, field+".auth: "+quoted("unknown method", t.Value), "password, token or certificate")
			continue
		}
		l.methods |= f
	}
}

// everyMethod is what a listener takes that says nothing.
const everyMethod = FactorPassword | FactorToken | FactorCertificate

func (c *compiler) addAllow(l *listener, field string, t Text, n note) {
	rule := &Rule{Text: "allow: " + t.Value, At: t.At}
	if t.Value == "any" {
		l.entries = append(l.entries, allowEntry{anywhere, rule, n})
		return
	}
	prefix, what, hint := parsePrefix(t.Value)
	if what != "" {
		c.fail(t.At, field+": "+what, hint)
		return
	}
	l.entries = append(l.entries, allowEntry{[]netip.Prefix{prefix}, rule, n})
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
