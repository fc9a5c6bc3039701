package metrics

import (
	"io"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// lists are small closed lists for tests.
func lists() Options {
	return Options{
		Listeners: []string{"gateway", "local"},
		Reasons:   []string{"", "guarded", "key_not_allowed"},
		Classes:   []string{"pinned", "shared", "local", "refused", "unknown"},
		Version:   "1.2.3",
		Closes:    []string{"", "idle", "drain"},
	}
}

func build(t *testing.T, o Options) *Set {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// scrape gives what Prometheus would read.
func scrape(t *testing.T, s *Set) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// has fails for each line that is not in the scraped text.
func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains("\n"+text, "\n"+l+"\n") {
			t.Errorf("no line %q", l)
		}
	}
}

// filled has something in every metric.
func filled(t *testing.T) *Set {
	t.Helper()
	var loops []*Loop
	o := lists()
	o.Gather = func(add func(*Loop)) {
		for _, l := range loops {
			add(l)
		}
	}
	o.Sinks = func() map[string]Sink {
		return map[string]Sink{"stdout": {Dropped: 4, Written: 9, Failed: 2, Waiting: 3}}
	}
	o.EventsKept = func() bool { return true }
	s := build(t, o)
	for range 2 {
		l := s.NewLoop()
		l.Listeners[0].Connections = 3
		l.Listeners[1].Connections = 1
		l.Listeners[0].Connection(ConnectionAccepted)
		l.Listeners[0].Refuse(1)
		l.Listeners[1].Refuse(2)
		l.Auth(MethodPassword, true)
		l.Auth(MethodToken, false)
		l.Command(1, Allowed, 100)
		l.Command(4, Refused, 7)
		l.Command(2, Answered, 1)
		l.Close(1)
		l.Pause(PausedOutput)
		l.Received, l.Sent, l.BufferBytes = 1000, 2000, 64
		l.Lingering = 3
		l.Waits[WaitBegan] = 2
		l.Resubscribed[ListenersResumed] = 1
		l.CommandSeconds.ObserveN(500*time.Microsecond, 10)
		l.BackendSeconds.Observe(0.0002)
		loops = append(loops, l)
	}
	s.Count(func(l *Loop) {
		l.Listeners[0].Connection(ConnectionRefused)
		l.Listeners[0].Refuse(1)
		l.Listeners[0].Connections--
	})
	s.HandshakeDone(2 * time.Millisecond)
	s.HandshakeFailed(HandshakeNoCertificate)
	s.HandshakeFailed("made up")
	s.Reloaded(true, time.Unix(1_700_000_000, 0))
	s.Reloaded(false, time.Unix(1_800_000_000, 0))
	s.SetCertificates(map[string]time.Time{"tls/server.crt": time.Unix(2_000_000_000, 0)})
	n := s.Node("main", "127.0.0.1:6379")
	n.Up(true)
	n.Opened()
	n.Opened()
	n.Closed()
	n.Pinged(time.Millisecond)
	s.TopologyChanged("main")
	s.SetLogins("main", 3, 2)
	s.SetLogins("main", 2, 5)
	s.SetOwned("main", 7)
	return s
}

func TestScrapeHasEveryPromisedNameAndTheRightSums(t *testing.T) {
	text := scrape(t, filled(t))
	has(t, text,
		`sallyport_connections{listener="gateway"} 5`,
		`sallyport_connections{listener="local"} 2`,
		`sallyport_connections_total{listener="gateway",result="accepted"} 2`,
		`sallyport_connections_total{listener="gateway",result="refused"} 1`,
		`sallyport_connections_total{listener="local",result="failed"} 0`,
		`sallyport_refused_total{listener="gateway",reason="guarded"} 3`,
		`sallyport_refused_total{listener="gateway",reason="key_not_allowed"} 0`,
		`sallyport_refused_total{listener="local",reason="key_not_allowed"} 2`,
		`sallyport_auth_total{method="password",result="ok"} 2`,
		`sallyport_auth_total{method="token",result="failed"} 2`,
		`sallyport_auth_total{method="certificate",result="ok"} 0`,
		`sallyport_commands_total{class="shared",decision="allowed"} 200`,
		`sallyport_commands_total{class="unknown",decision="refused"} 14`,
		`sallyport_commands_total{class="local",decision="answered"} 2`,
		`sallyport_connections_closed_total{reason="idle"} 2`,
		`sallyport_connections_closed_total{reason="drain"} 0`,
		`sallyport_reads_paused_total{reason="output"} 2`,
		`sallyport_reads_paused_total{reason="turn"} 0`,
		`sallyport_backend_waits_total{result="waited"} 4`,
		`sallyport_backend_waits_total{result="full"} 0`,
		`sallyport_resubscriptions_total{result="resumed"} 2`,
		`sallyport_received_bytes_total 2000`,
		`sallyport_sent_bytes_total 4000`,
		`sallyport_buffer_bytes 128`,
		`sallyport_lingering_sockets 6`,
		`sallyport_command_seconds_bucket{le="0.00025"} 0`,
		`sallyport_command_seconds_bucket{le="0.0005"} 20`,
		`sallyport_command_seconds_bucket{le="10"} 20`,
		`sallyport_command_seconds_bucket{le="+Inf"} 20`,
		`sallyport_command_seconds_count 20`,
		`sallyport_command_seconds_sum 0.01`,
		`sallyport_backend_seconds_count 2`,
		`sallyport_handshake_seconds_count 1`,
		`sallyport_handshake_failures_total{reason="no_certificate"} 1`,
		`sallyport_handshake_failures_total{reason="other"} 1`,
		`sallyport_handshake_failures_total{reason="timeout"} 0`,
		`sallyport_backend_up{backend="main",node="127.0.0.1:6379"} 1`,
		`sallyport_backend_own_connections{backend="main"} 7`,
		`sallyport_backend_connections{backend="main",node="127.0.0.1:6379"} 1`,
		`sallyport_backend_ping_seconds_count{backend="main",node="127.0.0.1:6379"} 1`,
		`sallyport_topology_changes_total{backend="main"} 1`,
		`sallyport_backend_login_connections{backend="main"} 2`,
		`sallyport_backend_login_connections_refused_total{backend="main"} 5`,
		`sallyport_reloads_total{result="ok"} 1`,
		`sallyport_reloads_total{result="failed"} 1`,
		`sallyport_reload_success_timestamp_seconds 1.7e+09`,
		`sallyport_certificate_not_after_seconds{file="tls/server.crt"} 2e+09`,
		`sallyport_events_dropped_total{sink="stdout"} 4`,
	)
	for _, part := range []string{
		`sallyport_build_info{fips="`, `goversion="go1.`, `version="1.2.3"} 1`, "\ngo_goroutines ", "\nprocess_open_fds ",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("nothing like %q", part)
		}
	}
}

func TestBucketsReachFrom50MicrosecondsTo10Seconds(t *testing.T) {
	text := scrape(t, filled(t))
	for _, name := range []string{"command_seconds", "backend_seconds", "handshake_seconds"} {
		has(t, text, "sallyport_"+name+`_bucket{le="10"} `+bucket(t, text, name, "+Inf"))
		if bucket(t, text, name, "5e-05") == "" {
			t.Errorf("%s has no bucket of 50 µs", name)
		}
	}
}

func bucket(t *testing.T, text, name, le string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^sallyport_` + name + `_bucket\{le="` + regexp.QuoteMeta(le) + `"\} (\d+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no bucket %s of %s", le, name)
	}
	return m[1]
}

func TestNamesFollowPrometheusConventions(t *testing.T) {
	s := filled(t)
	problems, err := testutil.GatherAndLint(s.Registry())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A label by client, user or key would grow without end and tell who does what
// to everybody who may scrape.
func TestLabelsAreFromClosedLists(t *testing.T) {
	known := map[string]bool{
		"listener": true, "result": true, "reason": true, "method": true, "class": true, "decision": true,
		"backend": true, "node": true, "file": true, "sink": true, "le": true, "version": true, "goversion": true, "fips": true,
		"role": true,
	}
	families, err := filled(t).Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), prefix) {
			continue
		}
		ours++
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !known[l.GetName()] {
					t.Errorf("%s has a label %s", f.GetName(), l.GetName())
				}
			}
		}
	}
	if ours < 20 {
		t.Errorf("only %d families looked at", ours)
	}
}

func TestNumbersOutsideTheListsHarmNobody(t *testing.T) {
	s := build(t, lists())
	s.Count(func(l *Loop) {
		l.Command(255, Decision(255), 1)
		l.Auth(AuthMethod(255), true)
		l.Listeners[0].Refuse(255)
		l.Listeners[0].Connection(Result(255))
	})
	scrape(t, s)
}

func TestTheReasonThatMeansNoneHasNoSeries(t *testing.T) {
	s := build(t, lists())
	s.Count(func(l *Loop) { l.Listeners[0].Refuse(0) })
	if text := scrape(t, s); strings.Contains(text, `reason=""`) {
		t.Error("a series without a reason")
	}
}

func TestCertificatesNoLongerInUseDisappear(t *testing.T) {
	s := build(t, lists())
	s.SetCertificates(map[string]time.Time{"old.crt": time.Unix(1, 0), "kept.crt": time.Unix(2, 0)})
	s.SetCertificates(map[string]time.Time{"kept.crt": time.Unix(3, 0)})
	text := scrape(t, s)
	has(t, text, `sallyport_certificate_not_after_seconds{file="kept.crt"} 3`)
	if strings.Contains(text, "old.crt") {
		t.Error("old.crt is still shown")
	}
}

func TestRevocationListsTellTheirAge(t *testing.T) {
	s := build(t, lists())
	s.SetCRLs(map[string]CRL{"old.crl": {time.Unix(1, 0), time.Unix(2, 0)}, "kept.crl": {time.Unix(3, 0), time.Unix(4, 0)}})
	s.SetCRLs(map[string]CRL{"kept.crl": {time.Unix(5, 0), time.Unix(6, 0)}})
	text := scrape(t, s)
	has(t, text, `sallyport_crl_this_update_seconds{file="kept.crl"} 5`)
	has(t, text, `sallyport_crl_next_update_seconds{file="kept.crl"} 6`)
	if strings.Contains(text, "old.crl") {
		t.Error("old.crl is still shown")
	}
}

func TestForgottenNodeDisappears(t *testing.T) {
	s := build(t, lists())
	s.Node("main", "gone:6379").Up(true)
	n := s.Node("main", "here:6379")
	s.ForgetNode("main", "gone:6379")
	text := scrape(t, s)
	has(t, text, `sallyport_backend_up{backend="main",node="here:6379"} 0`, `sallyport_topology_changes_total{backend="main"} 0`)
	if strings.Contains(text, "gone:6379") {
		t.Error("the forgotten node is still shown")
	}
	n.Up(true)
	n.Up(false)
	n.Opened()
	n.SetConnections(4)
	has(t, scrape(t, s),
		`sallyport_backend_up{backend="main",node="here:6379"} 0`,
		`sallyport_backend_connections{backend="main",node="here:6379"} 4`)
}

func TestNamesThatAreNotUTF8AreShownMended(t *testing.T) {
	o := lists()
	o.Listeners = []string{"bad\xff"}
	o.Version = "v\xff"
	o.Sinks = func() map[string]Sink { return map[string]Sink{"a\xff": {Dropped: 1}, "a\xfe": {Dropped: 2}} }
	s := build(t, o)
	s.SetCertificates(map[string]time.Time{"f\xff": time.Unix(5, 0)})
	s.Node("b\xff", "n\xff").Up(true)
	has(t, scrape(t, s),
		"sallyport_connections{listener=\"bad\uFFFD\"} 0",
		"sallyport_events_dropped_total{sink=\"a\uFFFD\"} 3",
		"sallyport_certificate_not_after_seconds{file=\"f\uFFFD\"} 5",
	)
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"a_listener_named_twice", func(o *Options) { o.Listeners = []string{"a", "a"} }, "listeners"},
		{"a_reason_named_twice", func(o *Options) { o.Reasons = []string{"a", "a"} }, "reasons"},
		{"too_many_reasons", func(o *Options) { o.Reasons = make([]string, maxReasons+1) }, "at most 64"},
		{"too_many_closes", func(o *Options) { o.Closes = make([]string, maxCloses+1) }, "at most 64"},
		{"too_many_classes", func(o *Options) { o.Classes = make([]string, maxClasses+1) }, "at most 8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := lists()
			tt.change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
}
