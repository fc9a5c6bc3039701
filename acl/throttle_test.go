package acl

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	nat    = netip.MustParseAddr("192.0.2.1")
	remote = netip.MustParseAddr("198.51.100.9")
)

func exhaust(t *Throttle, src netip.Addr, user string, now time.Time) (failures int) {
	for t.Allow(src, user, now) && failures < 1000 {
		t.Failed(src, user, now)
		failures++
	}
	return failures
}

func TestThrottle_a_pair_is_slowed_down(t *testing.T) {
	th := NewThrottle(ThrottleOptions{})
	if n := exhaust(th, nat, "app", noon); n != 10 {
		t.Errorf("%d failures pass", n)
	}
	for _, other := range []struct {
		src  netip.Addr
		user string
	}{{nat, "batch"}, {remote, "app"}, {netip.MustParseAddr("192.0.2.2"), "app"}, {netip.Addr{}, "app"}} {
		if !th.Allow(other.src, other.user, noon) {
			t.Errorf("%v %s is held up, too", other.src, other.user)
		}
	}
	if th.Allow(nat, "app", noon.Add(5*time.Second)) || !th.Allow(nat, "app", noon.Add(6*time.Second)) {
		t.Error("another try is not earned in six seconds")
	}
	th.Failed(nat, "app", noon.Add(6*time.Second))
	if th.Allow(nat, "app", noon.Add(7*time.Second)) {
		t.Error("more than one try is earned")
	}
	if n := exhaust(th, nat, "app", noon.Add(time.Hour)); n != 10 {
		t.Errorf("an hour later %d failures pass", n)
	}
}

func TestThrottle_a_source_is_slowed_down_over_many_users(t *testing.T) {
	th := NewThrottle(ThrottleOptions{})
	n := 0
	for ; th.Allow(nat, fmt.Sprint("user", n), noon) && n < 1000; n++ {
		th.Failed(nat, fmt.Sprint("user", n), noon)
	}
	if n != 100 {
		t.Errorf("%d users are tried", n)
	}
	if th.Allow(nat, "fresh", noon) || !th.Allow(remote, "fresh", noon) {
		t.Error("not the source alone is held up")
	}
	if !th.Allow(nat, "fresh", noon.Add(time.Second)) {
		t.Error("another try is not earned in a second")
	}
}

// Behind one address there may be a whole office, and a guesser in it: whoever
// got in within the hour still gets in.
func TestThrottle_lets_pairs_by_that_succeeded_of_late(t *testing.T) {
	th := NewThrottle(ThrottleOptions{})
	th.Succeeded(nat, "app", noon)
	later := noon.Add(59 * time.Minute)
	for i := range 200 {
		th.Failed(nat, fmt.Sprint("guess", i), later)
	}
	if th.Allow(nat, "batch", later) {
		t.Fatal("the source is not held up, so this test says nothing")
	}
	if !th.Allow(nat, "app", later) {
		t.Error("who got in before is locked out by others")
	}
	if th.Allow(remote, "app", later) != true || th.Allow(nat, "App", later) {
		t.Error("the trust is not of the pair alone")
	}
	later = noon.Add(61 * time.Minute)
	for i := range 200 {
		th.Failed(nat, fmt.Sprint("guess", i), later)
	}
	if th.Allow(nat, "app", later) {
		t.Error("trust outlives its hour")
	}
}

func TestThrottle_success_clears_its_own_pair_alone(t *testing.T) {
	th := NewThrottle(ThrottleOptions{SourceFailures: 25})
	exhaust(th, nat, "app", noon)
	exhaust(th, nat, "batch", noon)
	th.Succeeded(nat, "app", noon)
	if !th.Allow(nat, "app", noon) || th.Allow(nat, "batch", noon) {
		t.Error("not its own pair alone is cleared")
	}
	// An attacker with an account of his own does not refill the source's bucket by it.
	for i := range 10 {
		th.Failed(nat, fmt.Sprint(i), noon)
		th.Succeeded(nat, "mine", noon)
	}
	if th.Allow(nat, "fresh", noon) {
		t.Error("a success clears its source")
	}
}

func TestThrottle_sources(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.2", false}, {"192.0.2.1", "::ffff:192.0.2.1", true}, {"2001:db8::1", "2001:db8::ffff", true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", false}, {"fe80::1%eth0", "fe80::1%eth1", true}, {"::", "0.0.0.0", false},
	} {
		if got := sourceOf(netip.MustParseAddr(test.a)) == sourceOf(netip.MustParseAddr(test.b)); got != test.same {
			t.Errorf("%s and %s are one source: %v", test.a, test.b, got)
		}
	}
	if sourceOf(netip.Addr{}) != (netip.Prefix{}) || sourceOf(netip.IPv4Unspecified()) == (netip.Prefix{}) {
		t.Error("a unix socket is not a source of its own")
	}
}

// However many come, memory stays bounded; and who floods the table with names
// does not get rid of his own mark, since his source has one as well.
func TestThrottle_memory_is_bounded(t *testing.T) {
	th := NewThrottle(ThrottleOptions{Entries: 100})
	huge := strings.Repeat("x", 1<<20)
	for i := range 5000 {
		src := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		th.Failed(src, huge+fmt.Sprint(i), noon)
		th.Succeeded(src, fmt.Sprint(i), noon)
	}
	if n := th.Len(); n > 300 {
		t.Errorf("%d entries are held", n)
	}
	if len(th.pairs.entries) != 100 || th.pairs.last == nil || th.pairs.first.prev != nil || th.pairs.last.next != nil {
		t.Error("the table is not in order")
	}
	seen := 0
	for e := th.pairs.first; e != nil; e = e.next {
		seen++
	}
	if seen != 100 {
		t.Errorf("%d of the entries are in the list", seen)
	}

	th = NewThrottle(ThrottleOptions{Entries: 50, SourceFailures: 60})
	exhaust(th, nat, "app", noon)
	for i := 0; th.Allow(nat, fmt.Sprint(i), noon); i++ {
		th.Failed(nat, fmt.Sprint(i), noon)
	}
	if th.Allow(nat, "app", noon) {
		t.Error("names of his own choice make room for more guesses")
	}
}

// A clock that goes back a little, or a long pause, must not lock anybody out.
func TestThrottle_never_holds_anybody_for_longer_than_the_bucket_leaks(t *testing.T) {
	th := NewThrottle(ThrottleOptions{PairFailures: 3, PairRefill: time.Second})
	for range 1000 {
		th.Failed(nat, "app", noon)
	}
	if !th.Allow(nat, "app", noon.Add(time.Second)) {
		t.Error("a thousand failures hold longer than three")
	}
	th.Failed(nat, "app", noon.Add(-time.Minute))
	if !th.Allow(nat, "app", noon.Add(time.Second)) {
		t.Error("a clock that went back locks out")
	}
}
