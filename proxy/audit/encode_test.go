package audit

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/sallyport/sallyport/acl"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 42_000, time.UTC)

// full has every field set.
func full() *Event {
	return &Event{
		Time: noon, Seq: 7, Kind: CloseConn, Mode: "report", Conn: 3, Listener: "gateway",
		ClientIP: netip.MustParseAddr("10.1.2.3"), ClientPort: 50123, PeerIP: netip.MustParseAddr("10.0.0.5"),
		User: "app", Method: MethodCertificate, Status: OK, Close: CloseDrain, Rule: "+@read policy.yaml:4:12",
		Command: "config|get", Keys: [][]byte{[]byte("app:1"), []byte("app:2")},
		TLS: "1.3", Cipher: "TLS_AES_128_GCM_SHA256", Resumed: true,
		Cert:    Certificate{Subject: "CN=app", URI: "spiffe://prod/app", Serial: "0a", SHA256: "ff00"},
		TokenID: "jti-1", Duration: 1500 * time.Millisecond, BytesIn: 1, BytesOut: 2, Commands: 3, RefusedCalls: 4, Folded: 5,
	}
}

func TestAppendJSON(t *testing.T) {
	tests := []struct {
		name  string
		event *Event
		want  string
	}{
		{
			"every_field_in_the_promised_order", full(),
			`{"time":"2026-03-04T12:00:00.000042Z","seq":7,"event":"close_conn","mode":"report","conn":3,` +
				`"listener":"gateway","client_ip":"10.1.2.3","client_port":50123,"peer_ip":"10.0.0.5","user":"app",` +
				`"method":"certificate","status":"ok","reason":"drain","rule":"+@read policy.yaml:4:12",` +
				`"command":"config|get","keys":["app:1","app:2"],"tls":"1.3","cipher":"TLS_AES_128_GCM_SHA256",` +
				`"resumed":true,"cert_subject":"CN=app","cert_uri":"spiffe://prod/app","cert_serial":"0a",` +
				`"cert_sha256":"ff00","token_id":"jti-1","duration_ms":1500,"bytes_in":1,"bytes_out":2,"commands":3,` +
				`"refused":4,"folded":5}`,
		},
		{
			"what_does_not_apply_is_absent", &Event{Time: noon, Seq: 1, Kind: Reload, Method: MethodSignal, Status: Failed},
			`{"time":"2026-03-04T12:00:00.000042Z","seq":1,"event":"reload","method":"signal","status":"failed"}`,
		},
		{
			"the_end_of_a_connection_states_zeros", &Event{Time: noon, Seq: 1, Kind: CloseConn, Conn: 9, Close: CloseClient},
			`{"time":"2026-03-04T12:00:00.000042Z","seq":1,"event":"close_conn","conn":9,"reason":"client_closed",` +
				`"duration_ms":0,"bytes_in":0,"bytes_out":0,"commands":0,"refused":0}`,
		},
		{
			"a_full_handshake_says_resumed_false", &Event{Time: noon, Seq: 1, Kind: NewConn, TLS: "1.2"},
			`{"time":"2026-03-04T12:00:00.000042Z","seq":1,"event":"new_conn","tls":"1.2","resumed":false}`,
		},
		{
			"a_refusal_gives_the_policy's_reason", &Event{Time: noon, Seq: 1, Kind: Refused, Reason: acl.KeyNotAllowed, Command: "get"},
			`{"time":"2026-03-04T12:00:00.000042Z","seq":1,"event":"refused","reason":"key_not_allowed","command":"get"}`,
		},
		{
			"local_time_is_written_as_UTC",
			&Event{Time: noon.In(time.FixedZone("east", 5*3600)), Seq: 1, Kind: Admin},
			`{"time":"2026-03-04T12:00:00.000042Z","seq":1,"event":"admin"}`,
		},
		{
			"mapped_addresses_read_as_IPv4", &Event{Time: noon, Seq: 1, Kind: NewConn, ClientIP: netip.MustParseAddr("::ffff:192.0.2.1")},
			`{"time":"2026-03-04T12:00:00.000042Z","seq":1,"event":"new_conn","client_ip":"192.0.2.1"}`,
		},
		{
			"a_clock_that_went_back_gives_no_negative_duration", &Event{Time: noon, Seq: 1, Kind: CloseConn, Duration: -time.Second},
			`{"time":"2026-03-04T12:00:00.000042Z","seq":1,"event":"close_conn","duration_ms":0,"bytes_in":0,"bytes_out":0,"commands":0,"refused":0}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, string(AppendJSON(nil, tt.event))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTextFromClientsCannotForgeALine(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"line_end", "a\r\n{\"event\":\"auth\"}", `a\u000d\u000a{\"event\":\"auth\"}`},
		{"quote_and_backslash", `a","user":"root\`, `a\",\"user\":\"root\\`},
		{"terminal_escape", "\x1b[2Jx\x7f", `\u001b[2Jx\u007f`},
		{"nul", "a\x00b", `a\u0000b`},
		{"C1_control_sequence", "\u009b31m", `\u009b31m`},
		{"bad_bytes_one_by_one", "a\xff\xfeb\xc3", "a\uFFFD\uFFFDb\uFFFD"},
		{"surrogate_in_UTF-8", "\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
		{"unicode_line_ends", "a\u2028b\u2029c", `a\u2028b\u2029c`},
		{"direction_override", "\u202etxt", `\u202etxt`},
		{"invisible", "a\u200bb\ufeff", `a\u200bb\ufeff`},
		{"invisible_tag_beyond_16_bits", "\U000e0041", `\udb40\udc41`},
		{"what_prints_stays", "clé:日本:🔑", "clé:日本:🔑"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(appendText(nil, tt.in, maxField)); got != `"`+tt.want+`"` {
				t.Errorf("got %s, want \"%s\"", got, tt.want)
			}
			if got := string(appendText(nil, []byte(tt.in), maxField)); got != `"`+tt.want+`"` {
				t.Errorf("as bytes: got %s, want \"%s\"", got, tt.want)
			}
		})
	}
}

func TestLongTextIsCutAndSaysSo(t *testing.T) {
	for _, unit := range []string{"x", "\x00", "é", "\U000e0041", `"`, "\xff"} {
		for _, n := range []int{maxField/len(unit) - 1, maxField, maxField + 1, 100_000} {
			in := strings.Repeat(unit, n)
			raw := appendText(nil, in, maxField)
			if len(raw) > maxField+2 {
				t.Errorf("%q × %d: %d bytes", unit, n, len(raw))
			}
			var out string
			if err := json.Unmarshal(raw, &out); err != nil {
				t.Fatalf("%q × %d: %v in %s", unit, n, err, raw)
			}
			checkText(t, in, out, len(raw)-2, maxField)
		}
	}
	if got := string(appendText(nil, strings.Repeat("x", maxField), maxField)); got != `"`+strings.Repeat("x", maxField)+`"` {
		t.Error("a text that just fits was cut")
	}
}

// checkText fails unless out is in, or its beginning and a mark that counts what is missing.
func checkText(t *testing.T, in, out string, written, limit int) {
	t.Helper()
	if out == string([]rune(in)) {
		return
	}
	if written < limit-markRoom-maxEscape {
		t.Fatalf("%q reads back as %q", in, out)
	}
	head, rest, found := strings.Cut(out[max(strings.LastIndex(out, "…[cut "), 0):], "…[cut ")
	if !found || head != "" {
		t.Fatalf("cut without a mark: %q", out)
	}
	missing, err := strconv.Atoi(strings.TrimSuffix(rest, " bytes]"))
	if err != nil || missing <= 0 || missing > len(in) {
		t.Fatalf("mark %q of a text of %d bytes", rest, len(in))
	}
	if kept := out[:strings.LastIndex(out, "…[cut ")]; kept != string([]rune(in[:len(in)-missing])) {
		t.Fatalf("kept %q of %q, and said %d bytes are missing", kept, in, missing)
	}
}

func TestManyKeysAreCutAndSaySo(t *testing.T) {
	keys := make([][]byte, 1000)
	for i := range keys {
		keys[i] = []byte("k")
	}
	var e struct{ Keys []string }
	if err := json.Unmarshal(AppendJSON(nil, &Event{Time: noon, Kind: Refused, Keys: keys}), &e); err != nil {
		t.Fatal(err)
	}
	if len(e.Keys) != maxKeys+1 || e.Keys[maxKeys] != "…[cut 984 keys]" {
		t.Errorf("%d entries, the last is %q", len(e.Keys), e.Keys[len(e.Keys)-1])
	}
}

func TestNoEventIsLongerThanTheBound(t *testing.T) {
	huge := strings.Repeat("\U000e0041", 5000)
	e := full()
	for _, s := range []*string{
		&e.Mode, &e.Listener, &e.User, &e.Rule, &e.Command, &e.TLS, &e.Cipher,
		&e.Cert.Subject, &e.Cert.URI, &e.Cert.Serial, &e.Cert.SHA256, &e.TokenID,
	} {
		*s = huge
	}
	e.ClientIP = netip.MustParseAddr("fe80::1").WithZone(huge)
	e.PeerIP = e.ClientIP
	e.Keys = nil
	for range 100 {
		e.Keys = append(e.Keys, []byte(huge))
	}
	e.Seq, e.Conn, e.BytesIn, e.BytesOut, e.Commands, e.RefusedCalls, e.Folded = 1<<63, 1<<63, 1<<63, 1<<63, 1<<63, 1<<63, 1<<63
	line := AppendJSON(nil, e)
	if len(line) >= maxLine || !json.Valid(line) {
		t.Errorf("%d bytes (bound %d), valid: %v", len(line), maxLine, json.Valid(line))
	}
}

func TestDroppedLineStatesCountAndRange(t *testing.T) {
	want := `{"time":"2026-03-04T12:00:00.000042Z","seq":9,"event":"dropped","dropped":5,"seq_first":5,"seq_last":9}`
	if got := string(appendDropped(nil, noon, 5, 9)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzEventIsOneLineThatReadsBack(f *testing.F) {
	f.Add("app", "get", []byte("key"), "CN=app", uint64(1))
	f.Add("a\r\n\"}", "\x1b[31m", []byte("\xff\x00"), "\u2028\u202e", uint64(1<<63))
	f.Add(strings.Repeat("é", 600), strings.Repeat("\x00", 300), []byte(strings.Repeat("k", 300)), `\`, uint64(0))
	f.Fuzz(func(t *testing.T, user, command string, key []byte, subject string, n uint64) {
		e := &Event{
			Time: noon, Seq: n, Kind: Refused, User: user, Command: command, Keys: [][]byte{key},
			Reason: acl.Reason(n), Cert: Certificate{Subject: subject}, Folded: n,
		}
		line := AppendJSON(nil, e)
		if !utf8.Valid(line) || len(line) > maxLine {
			t.Fatalf("not UTF-8 or too long: %q", line)
		}
		for _, r := range string(line) {
			if r != utf8.RuneError && !strconv.IsPrint(r) {
				t.Fatalf("%U in %q", r, line)
			}
		}
		var back map[string]any
		if err := json.Unmarshal(line, &back); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		known := "time seq event user reason command keys cert_subject folded "
		for name := range back {
			if !strings.Contains(known, name+" ") {
				t.Fatalf("key %q appeared in %s", name, line)
			}
		}
		keys := back["keys"].([]any)
		if len(keys) != 1 {
			t.Fatalf("one key became %v", keys)
		}
		check := func(in string, out any, limit int) {
			text, _ := out.(string)
			checkText(t, in, text, len(appendText(nil, in, limit))-2, limit)
		}
		check(user, back["user"], maxField)
		check(command, back["command"], maxField)
		check(subject, back["cert_subject"], maxField)
		check(string(key), keys[0], maxKey)
	})
}
