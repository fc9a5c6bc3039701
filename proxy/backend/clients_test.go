package backend

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func bulk(text string) []byte { return fmt.Appendf(nil, "$%d\r\n%s\r\n", len(text), text) }

func TestLinesOfClientListAreRead(t *testing.T) {
	text := "id=3 addr=127.0.0.1:60912 laddr=127.0.0.1:6379 fd=8 name= age=12 idle=0 flags=N db=0 cmd=client|list user=default redir=-1 resp=2\n" +
		"id=4 addr=[::1]:60913 laddr=[::1]:6379 name=a\x1bb age=7 flags=S cmd=get user=app lib-name=redis-py lib-ver=5.0.1\n" +
		"id=5 addr=/run/redis.sock:0 name=x age=1 flags=U cmd=NULL user=default\n" +
		"nonsense\n\nid=x addr=1.2.3.4:5\n"
	got, err := parseClients(bulk(text), 3)
	if err != nil {
		t.Fatal(err)
	}
	want := []Client{
		{ID: 3, Addr: netip.MustParseAddrPort("127.0.0.1:60912"), User: "default", Flags: "N", Command: "client|list", Age: 12 * time.Second, Self: true},
		{ID: 4, Addr: netip.MustParseAddrPort("[::1]:60913"), User: "app", Name: "a?b", Library: "redis-py 5.0.1", Flags: "S", Command: "get", Age: 7 * time.Second},
		{ID: 5, User: "default", Name: "x", Flags: "U", Command: "NULL", Age: time.Second},
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"", "$-1\r\n", "$5\r\nab\r\n", "*0\r\n", ":1\r\n", "-ERR\r\n", "$2\r\nab\r\n$2\r\nab\r\n"} {
		if _, err := parseClients([]byte(bad), 1); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestOwnConnectionsAreForgottenOnceTheyAreGone(t *testing.T) {
	o := &Addresses{at: map[netip.AddrPort]time.Time{}}
	old, open, young := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.1:2"), netip.MustParseAddrPort("10.0.0.1:3")
	now := time.Now()
	o.at[old], o.at[open], o.at[young] = now.Add(-time.Hour), now.Add(-time.Hour), now
	o.Forget(now.Add(-time.Minute), func(a netip.AddrPort) bool { return a == open })
	if o.Holds(old) || !o.Holds(open) || !o.Holds(young) {
		t.Errorf("left: %v", o.at)
	}
}

func FuzzClientListTakesAnyBytes(f *testing.F) {
	f.Add("id=3 addr=127.0.0.1:60912 name= age=12 flags=N cmd=client|list user=default\n", uint64(3))
	f.Add("id=18446744073709551615 addr=[fe80::1%eth0]:1 age=99999999999 user=\x00\xff lib-name=a lib-ver=b\r\n\n=\n", uint64(0))
	f.Add(strings.Repeat("id=1\n", 100), uint64(1))
	f.Fuzz(func(t *testing.T, text string, self uint64) {
		for _, reply := range [][]byte{bulk(text), []byte(text)} {
			list, err := parseClients(reply, self)
			if err != nil && len(list) != 0 {
				t.Fatalf("%d clients and %v", len(list), err)
			}
			for _, c := range list {
				if c.Age < 0 || len(c.User)+len(c.Name)+len(c.Flags)+len(c.Command) > 800 || len(c.Library) > 401 || strings.ContainsAny(c.User+c.Name+c.Library+c.Command, "\r\n\x00\x1b") {
					t.Fatalf("%+v", c)
				}
			}
		}
	})
}

// No node is configured where Sentinels name them, and while none does there is
// nobody to ask who is connected.
func TestNoPlaceIsKnownWhileSentinelsNameNone(t *testing.T) {
	c := still(t, nil, Routing{Kind: Sentinel, Sentinels: Sentinels{Nodes: []Endpoint{at("127.0.0.1:1")}, Name: "primary"}}, nil)
	if got := (&Backend{following: following{control: c}}).Places(); len(got) != 0 {
		t.Errorf("places %v", got)
	}
}
