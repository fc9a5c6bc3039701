package acl

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/gaissmai/bart"
)

// note is a compiled Note.
type note struct {
	why, owner string
	until      time.Time // zero: no end
}

func (n *note) ended(now time.Time) bool { return !n.until.IsZero() && now.After(n.until) }

// note reads why, owner and until.
func (c *compiler) note(field string, src Note) note {
	n := note{why: src.Why.Value, owner: src.Owner.Value}
	if src.Until.Value == "" {
		return n
	}
	until, ok := parseUntil(src.Until.Value)
	if !ok {
		c.fail(src.Until.At, field+".until: "+quoted("not a day or time:", src.Until.Value), "write 2026-12-31, or 2026-12-31T18:00:00Z")
		return n
	}
	n.until = until
	if n.ended(c.now) {
		c.report(Problem{
			At: src.Until.At, What: field + ": ended with " + strconv.Quote(src.Until.Value) + ", it does not work any more", Warning: true,
			Hint: "remove it, or give it a later until",
		})
	}
	return n
}

// parseUntil reads a day, whose last moment counts, or an RFC 3339 time.
func parseUntil(text string) (time.Time, bool) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1).Add(-time.Nanosecond), true
	}
	t, err := time.Parse(time.RFC3339, text)
	return t, err == nil
}

// networks is a compiled from:. nil admits every address.
type networks struct {
	table bart.Table[*Rule]
	unix  bool
}

// holds says whether an address is inside. An invalid one is a unix socket's.
func (n *networks) holds(addr netip.Addr) bool {
	if n == nil {
		return true
	}
	if !addr.IsValid() {
		return n.unix
	}
	_, ok := n.table.Lookup(addr.Unmap().WithZone(""))
	return ok
}

// rule gives the entry that holds an address, nil if none does or all do.
func (n *networks) rule(addr netip.Addr) *Rule {
	if n == nil || !addr.IsValid() {
		return nil
	}
	r, _ := n.table.Lookup(addr.Unmap().WithZone(""))
	return r
}

// networks reads from:. nil stays nil, an empty list admits nobody.
func (c *compiler) networks(field string, list []Text) *networks {
	if list == nil {
		return nil
	}
	n := new(networks)
	if len(list) == 0 {
		c.fail(Origin{}, field+": empty, so nobody could come in", "leave it out, or name a network")
	}
	for _, t := range list {
		rule := &Rule{Text: "from: " + t.Value, At: t.At}
		switch t.Value {
		case "unix":
			n.unix = true
			continue
		case "any":
			n.unix = true
			n.table.Insert(netip.MustParsePrefix("0.0.0.0/0"), rule)
			n.table.Insert(netip.MustParsePrefix("::/0"), rule)
			continue
		}
		prefix, what, hint := parsePrefix(t.Value)
		if what != "" {
			c.fail(t.At, field+": "+what, hint)
			continue
		}
		c.warnBroad(field, t, prefix)
		n.table.Insert(prefix, rule)
	}
	return n
}

var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("2001:db8::/32"),
}

// A public network is broad when it is wider than what one organisation is
// usually given.
const (
	broad4 = 16
	broad6 = 32
)

// warnBroad warns of a public network that lets in half the world. The word any
// is no finding here: it says so itself.
func (c *compiler) warnBroad(field string, t Text, prefix netip.Prefix) {
	limit := broad6
	if prefix.Addr().Is4() {
		limit = broad4
	}
	if prefix.Bits() >= limit || slices.ContainsFunc(private, func(p netip.Prefix) bool {
		return p.Overlaps(prefix) && p.Bits() <= prefix.Bits()
	}) {
		return
	}
	c.report(Problem{
		At: t.At, What: field + ": " + quoted("a broad public network:", t.Value), Warning: true,
		Hint: `name the networks that are yours, or say "any" if everybody is meant`,
	})
}

// scope is a compiled listeners: on users, roles and tokens. nil: everywhere.
type scope []string

func (s scope) holds(listener string) bool { return s == nil || slices.Contains(s, listener) }

func (s scope) overlaps(o scope) bool {
	return s == nil || o == nil || slices.ContainsFunc(s, o.holds)
}

// scope reads listeners:; the names must be those of listeners.
func (c *compiler) scope(field string, list []Text, listeners []ListenerSource) scope {
	if list == nil {
		return nil
	}
	s := scope{}
	for _, t := range list {
		if !slices.ContainsFunc(listeners, func(l ListenerSource) bool { return l.Name.Value == t.Value }) {
			c.fail(t.At, field+".listeners: "+quoted("unknown listener", t.Value), didYouMean(t.Value, func(yield func(string) bool) {
				for i := range listeners {
					if !yield(listeners[i].Name.Value) {
						return
					}
				}
			}))
			continue
		}
		s = append(s, t.Value)
	}
	if len(list) == 0 {
		c.fail(Origin{}, field+".listeners: empty, so it would hold nowhere", "leave it out, or name a listener")
	}
	return s
}
