package acl

import (
	"net/netip"
	"testing"
)

func TestAdmitAddr(t *testing.T) {
	p := policyOf(t, "listener gw: 10.0.0.0/8 192.168.1.7 2001:db8::/32 ::ffff:172.16.0.0/108 fe80::1\nlistener all: any\nlistener none:")
	src := parseSource(t, "policy", "listener local: any")
	src.Listeners[0].Allow = nil
	local := mustCompile(t, src)
	for _, test := range []struct {
		p              *Policy
		listener, addr string
		want           string
	}{
		{p, "gw", "10.1.2.3", "allow: 10.0.0.0/8"},
		{p, "gw", "11.1.2.3", ""},
		{p, "gw", "192.168.1.7", "allow: 192.168.1.7"},
		{p, "gw", "192.168.1.8", ""},
		{p, "gw", "::ffff:10.1.2.3", "allow: 10.0.0.0/8"},
		{p, "gw", "172.16.5.5", "allow: ::ffff:172.16.0.0/108"},
		{p, "gw", "172.32.5.5", ""},
		{p, "gw", "2001:db8::7", "allow: 2001:db8::/32"},
		{p, "gw", "2001:db9::7", ""},
		{p, "gw", "fe80::1%eth0", "allow: fe80::1"},
		{p, "gw", "64:ff9b::10.1.2.3", ""},
		{p, "gw", "::10.1.2.3", ""},
		{p, "gw", "127.0.0.1", ""},
		{p, "all", "8.8.8.8", "allow: any"},
		{p, "all", "64:ff9b::10.1.2.3", "allow: any"},
		{p, "none", "127.0.0.1", ""},
		{p, "unknown", "127.0.0.1", ""},
		{local, "local", "127.0.0.1", "allow: loopback (nothing else is said)"},
		{local, "local", "127.9.9.9", "allow: loopback (nothing else is said)"},
		{local, "local", "::1", "allow: loopback (nothing else is said)"},
		{local, "local", "::ffff:127.0.0.1", "allow: loopback (nothing else is said)"},
		{local, "local", "10.0.0.1", ""},
	} {
		d := test.p.AdmitAddr(test.listener, netip.MustParseAddr(test.addr))
		rule := ""
		if d.Rule != nil {
			rule = d.Rule.Text
		}
		if d.Allowed != (test.want != "") || rule != test.want || d.Allowed == (d.Reason == AddressNotAllowed) {
			t.Errorf("%s %s: %+v %s, want %q", test.listener, test.addr, d, rule, test.want)
		}
	}
	if d := p.AdmitAddr("all", netip.Addr{}); d.Allowed {
		t.Error("no address at all is admitted")
	}
	addr := netip.MustParseAddr("::ffff:10.1.2.3")
	if n := testing.AllocsPerRun(100, func() { p.AdmitAddr("gw", addr) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAdmitAddr_modes(t *testing.T) {
	addr := netip.MustParseAddr("8.8.8.8")
	report := policyOf(t, "modes: allow=report\nlistener gw: 10.0.0.0/8")
	if d := report.AdmitAddr("gw", addr); !d.Allowed || !d.Reported || d.Reason != AddressNotAllowed {
		t.Errorf("report: %+v", d)
	}
	off := policyOf(t, "modes: allow=off\nlistener gw: 10.0.0.0/8")
	if d := off.AdmitAddr("gw", addr); !d.Allowed || d.Reported || d.Reason != None {
		t.Errorf("off: %+v", d)
	}
	for _, p := range []*Policy{report, off} {
		if p.AdmitAddr("other", addr).Allowed || p.AdmitAddr("gw", netip.Addr{}).Allowed {
			t.Error("an unknown listener or no address is admitted")
		}
	}
}
