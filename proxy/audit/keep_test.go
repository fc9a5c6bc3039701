package audit

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sallyport/sallyport/acl"
)

func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

func TestAQuarterOfTheQueueIsKeptForWhoWasIn(t *testing.T) {
	s := newStall()
	r := open(t, Options{Sinks: []Sink{Writer("s", s)}, Buffer: 100})
	r.Record(&Event{Time: noon, Kind: Admin})
	<-s.entered
	for range 500 {
		r.Record(&Event{Time: noon, Kind: Refused})
	}
	if d := r.Dropped()["s"]; d != 425 {
		t.Errorf("%d of 500 were dropped by a queue of 100, want 425", d)
	}
	for range 6 {
		for _, k := range []Kind{Auth, CloseConn, Admin, Reload} {
			r.Record(&Event{Time: noon, Kind: k})
		}
	}
	if d := r.Dropped()["s"]; d != 425 {
		t.Errorf("%d events of who was in were dropped", d-425)
	}
	close(s.let)
	finish(t, r)
	entries(t, s.all())
}

func TestWithRefuseNothingIsKeptThatCannotBeWritten(t *testing.T) {
	s := newStall()
	r := open(t, Options{Sinks: []Sink{Writer("s", s).With(Settings{Refuse: true}), Writer("lossy", &collect{})}, Buffer: 40})
	<-s.entered // the line that begins the chain is stuck
	if !r.Refuses() {
		t.Error("no sink refuses")
	}
	kept := 0
	for range 200 {
		if r.Record(&Event{Time: noon, Kind: Auth, Status: OK}) {
			kept++
		}
	}
	if r.Keeps() {
		t.Error("a full queue counts as keeping the record")
	}
	if kept == 0 || kept > 40 {
		t.Errorf("%d events are said to be kept by a queue of 40", kept)
	}
	close(s.let)
	waitFor(t, r.Keeps)
	finish(t, r)
	written := 0
	for _, e := range entries(t, s.all()) {
		if e.Event == "auth" {
			written++
		}
	}
	if written != kept {
		t.Errorf("%d were said to be kept, %d are written", kept, written)
	}
	if r.Record(&Event{Time: noon, Kind: Auth}) {
		t.Error("an event after Close counts as kept")
	}
}

func TestAWriteThatHangsForASecondIsNotKeeping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStall()
		r := open(t, Options{Sinks: []Sink{Writer("s", s).With(Settings{Refuse: true})}})
		<-s.entered
		if !r.Keeps() {
			t.Error("not keeping at once")
		}
		<-time.After(1100 * time.Millisecond)
		if r.Keeps() {
			t.Error("keeping while a write hangs")
		}
		close(s.let)
		synctest.Wait()
		if !r.Keeps() {
			t.Error("not keeping after it went on")
		}
		finish(t, r)
	})
}

func TestACheckpointTellsEachSinkWhereTheOtherStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a, b collect
		r := open(t, Options{Sinks: []Sink{Writer("a", &a).With(Settings{}), Writer("b", &b).With(Settings{Key: key(t, "k")})}})
		r.Record(&Event{Time: noon, Kind: Admin})
		synctest.Wait()
		heads := r.Heads()
		<-time.After(10 * time.Minute)
		finish(t, r)
		for name, c := range map[string]*collect{"a": &a, "b": &b} {
			var points []Head
			for line := range strings.Lines(string(c.all())) {
				var e struct {
					Event, Sink, Head string
					HeadSeq           uint64 `json:"head_seq"`
				}
				if err := json.Unmarshal([]byte(line), &e); err != nil {
					t.Fatal(err)
				}
				if e.Event == "checkpoint" && e.Sink != name {
					points = append(points, Head{e.HeadSeq, e.Head})
				}
			}
			other := map[string]string{"a": "b", "b": "a"}[name]
			// Nothing happened after the first minute, so there is one.
			if len(points) != 1 || points[0] != heads[other] {
				t.Errorf("sink %s has %v of %s, which stood at %v", name, points, other, heads[other])
			}
		}
	})
}

func TestKeysAreShownAsTheSinkWantsThem(t *testing.T) {
	keys := [][]byte{[]byte("session:alice:cart"), []byte("plain"), []byte("app:")}
	k := key(t, "k")
	for mode, want := range map[KeyMode]string{
		KeysFull:   `["session:alice:cart","plain","app:"]`,
		KeysPrefix: `["session:…","…","app:"]`,
		KeysOff:    ``,
	} {
		s := shape{keys: mode}
		got := string(appendNative(nil, &Event{Time: noon, Kind: Access, Keys: keys}, &s))
		_, list, _ := strings.Cut(got, `"keys":`)
		if list, _, _ = strings.Cut(list, "]"); list != "" {
			list += "]"
		}
		if list != want {
			t.Errorf("mode %d: %s", mode, got)
		}
	}
	plain, keyed := shape{keys: KeysHash}, shape{keys: KeysHash, secret: k}
	a := string(plain.appendKey(nil, keys[0]))
	b := string(keyed.appendKey(nil, keys[0]))
	if !strings.HasPrefix(a, `"sha256:`) || !strings.HasPrefix(b, `"hmac:`) || len(a) != len(`"sha256:`)+17 || strings.TrimPrefix(a, `"sha256:`) == strings.TrimPrefix(b, `"hmac:`) {
		t.Errorf("hashes %s and %s", a, b)
	}
	if string(plain.appendKey(nil, keys[0])) != a {
		t.Error("equal keys have different hashes")
	}
}

func TestForeignFormats(t *testing.T) {
	e := Event{
		Time: noon, Seq: 5, Conn: 7, Listener: "gateway", ClientIP: netip.MustParseAddr("192.0.2.1"), ClientPort: 50000,
		Target: netip.MustParseAddrPort("10.0.0.1:6380"), User: `a"b`,
	}
	tests := []struct {
		name   string
		format Format
		change func(*Event)
		want   string
	}{
		{"azure_new_conn", Azure, func(e *Event) { e.Kind = NewConn }, `{"time":"2026-03-04T12:00:00.000042Z","category":"ConnectionEvents","operationName":"Microsoft.Cache/redisEnterprise/databases/ConnectionEvents/Read","resourceId":"gateway","properties":{"eventEpochTime":1772625600,"id":7,"clientIP":"192.0.2.1","eventType":"new_conn"},"seq":5}`},
		{"azure_login", Azure, func(e *Event) { e.Kind, e.Status, e.Method = Auth, OK, MethodPassword }, `"eventType":"auth","eventStatus":8},"seq":5}`},
		{"azure_failure", Azure, func(e *Event) { e.Kind, e.Status, e.Method = Auth, Failed, MethodCertificate }, `"eventStatus":0},`},
		{"azure_not_required", Azure, func(e *Event) { e.Kind, e.Status, e.Method = Auth, OK, MethodNone }, `"eventStatus":2},`},
		{"azure_certificate", Azure, func(e *Event) { e.Kind, e.Status, e.Method = Auth, OK, MethodCertificate }, `"eventStatus":10},`},
		{"azure_snapshot", Azure, func(e *Event) {
			e.Kind, e.Groups = Clients, []Group{{IP: e.ClientIP, Count: 3, User: "x"}, {IP: netip.MustParseAddr("2001:db8::1"), Count: 1}}
		}, `"properties":{"tenant":"sallyport","connectedClients":[{"count":3,"ip":"192.0.2.1"},{"count":1,"ip":"2001:db8::1"}]},"seq":5}`},
		{"azure_has_no_refused", Azure, func(e *Event) { e.Kind = Refused }, ""},
		{"azure_has_no_announcement", Azure, func(e *Event) { e.Kind, e.Status = Auth, Expiring }, ""},
		{"enterprise_new_conn", RedisEnterprise, func(e *Event) { e.Kind = NewConn }, `{"ts":1772625600,"new_conn":{"id":7,"srcip":"192.0.2.1","srcp":"50000","trgip":"10.0.0.1","trgp":"6380","hname":"","bdb_name":"gateway"},"audit_seq":5}`},
		{"enterprise_close", RedisEnterprise, func(e *Event) { e.Kind = CloseConn }, `{"ts":1772625600,"close_conn":{"id":7,`},
		{"enterprise_login", RedisEnterprise, func(e *Event) { e.Kind, e.Status, e.Method = Auth, OK, MethodPassword }, `{"ts":1772625600,"action":"auth","id":7,"srcip":"192.0.2.1","srcp":"50000","trgip":"10.0.0.1","trgp":"6380","hname":"","bdb_name":"gateway","status":8,"username":"a\"b","identity":"","acl-rules":"","audit_seq":5}`},
		{"enterprise_has_no_admin", RedisEnterprise, func(e *Event) { e.Kind = Admin }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := e
			tt.change(&e)
			s := shape{format: tt.format}
			s.encode(&e)
			got := strings.TrimSuffix(string(s.text), "\n")
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Error(cmp.Diff(tt.want, got))
			}
			if got != "" && !json.Valid([]byte(got)) {
				t.Errorf("no JSON: %s", got)
			}
		})
	}
}

func TestRecentGivesTheLastAndKeepsTheAdminLogApart(t *testing.T) {
	r := open(t, Options{Sinks: []Sink{Writer("off", &collect{}).With(Settings{Keys: KeysOff}), Writer("full", &collect{})}, Buffer: 100_000})
	r.Record(&Event{Time: noon, Kind: Admin, Command: "drain"})
	for range 3 * recentLines {
		r.Record(&Event{Time: noon, Kind: Refused, Keys: [][]byte{[]byte("secret")}, Command: "get"})
	}
	if got := r.Recent(10, Filter{Kinds: []Kind{Admin}}); len(got) != 1 || !strings.Contains(string(got[0]), `"command":"drain"`) {
		t.Errorf("admin log %s", got)
	}
	got := r.Recent(5, Filter{})
	if len(got) != 5 || !strings.Contains(string(got[4]), `"seq":3073,`) || !json.Valid(got[0]) {
		t.Errorf("%s", got)
	}
	if strings.Contains(string(got[0]), "secret") {
		t.Errorf("a key that one sink must not show: %s", got[0])
	}
	if got := r.Recent(100, Filter{After: 3070}); len(got) != 3 {
		t.Errorf("%d after number 3070", len(got))
	}
	if got := r.Recent(1<<30, Filter{}); len(got) > 2*recentLines {
		t.Errorf("%d lines are held", len(got))
	}
	finish(t, r)
}

func TestFirstSeenIsBoundedAndForgetsTheOldest(t *testing.T) {
	var s Seen
	home, away := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	steps := []struct {
		user string
		from netip.Addr
		by   Method
		want bool
	}{
		{"app", home, MethodPassword, true},
		{"app", home, MethodPassword, false},
		{"app", netip.MustParseAddr("192.0.2.77"), MethodPassword, false}, // the same network
		{"app", netip.MustParseAddr("::ffff:192.0.2.1"), MethodPassword, false},
		{"app", away, MethodPassword, true},
		{"app", home, MethodToken, true},
		{"batch", home, MethodPassword, true},
		{"app", netip.Addr{}, MethodPassword, true}, // a unix socket
		{"app", netip.Addr{}, MethodPassword, false},
	}
	for i, st := range steps {
		if got := s.First(st.user, st.from, st.by); got != st.want {
			t.Errorf("step %d: first %v", i, got)
		}
	}
	for i := range 4 * seenMost {
		s.First(strings.Repeat("x", i%7)+time.Duration(i).String(), home, MethodPassword)
		if len(s.now)+len(s.past) > seenMost {
			t.Fatalf("%d are held", len(s.now)+len(s.past))
		}
		if i%1000 == 0 && s.First("app", home, MethodPassword) {
			t.Fatal("one that is seen all the time was forgotten")
		}
	}
	if !s.First("batch", home, MethodPassword) {
		t.Error("one not seen for long was not forgotten")
	}
}

func TestRefusalsOfASourceAreFolded(t *testing.T) {
	var f SourceFolder
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	events, folded := 0, uint64(0)
	write := func(now time.Time, from netip.Addr) {
		if n, ok := f.Write(now, "gateway", from, acl.TooManyClients); ok {
			events++
			folded += n
		}
	}
	for i := range 100 {
		write(noon.Add(time.Duration(i)*time.Millisecond), a)
	}
	write(noon, b)
	if events != 2 || folded != 0 {
		t.Errorf("%d events, %d folded", events, folded)
	}
	write(noon.Add(11*time.Second), a)
	if events != 3 || folded != 99 {
		t.Errorf("%d events, %d folded", events, folded)
	}
	write(noon.Add(12*time.Second), a)
	f.Rest(noon.Add(30*time.Second), func(listener string, source netip.Addr, reason acl.Reason, n uint64) {
		events++
		folded += n
		if listener != "gateway" || source != a || reason != acl.TooManyClients {
			t.Errorf("rest of %s %s %s", listener, source, reason)
		}
	})
	if events+int(folded) != 103 || len(f.sources) != 0 {
		t.Errorf("%d events and %d folded for 103 refusals, %d held", events, folded, len(f.sources))
	}
	for i := range 3 * foldSources {
		write(noon, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if len(f.sources) > foldSources+1 {
		t.Errorf("%d sources are held", len(f.sources))
	}
}
