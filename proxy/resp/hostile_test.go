package resp

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each name says what a client sent and what it got. The inputs are those at
// which Redis proxies and servers have been seen to crash, spin, wait for ever
// or run what they should not.
func TestReaderMeetsHostileBytes(t *testing.T) {
	const (
		count = "Protocol error: invalid multibulk length"
		bulk  = "Protocol error: invalid bulk length"
		end   = "Protocol error: expected CR LF after bulk"
		nul   = "Protocol error: NUL in inline request"
		line  = "Protocol error: too big inline request"
		http  = "Protocol error: HTTP request"
	)
	narrow := Limits{Args: 3, Bulk: 10, Inline: 20, Request: 30}
	ping := [][]string{{"PING"}}
	sent := string(command("PING"))
	for _, test := range []struct {
		name   string
		stream string
		limits Limits
		want   reading
	}{
		{name: "bulk length 2^63-1 is refused", stream: "*1\r\n$9223372036854775807\r\n", want: reading{Fault: bulk}},
		{name: "bulk length 2^63 is refused", stream: "*1\r\n$9223372036854775808\r\n", want: reading{Fault: bulk}},
		{name: "bulk length 2^64+3 is not read as 3", stream: "*1\r\n$18446744073709551619\r\nGET\r\n", want: reading{Fault: bulk}},
		{name: "bulk length above Redis's limit is refused", stream: "*1\r\n$536870913\r\n", want: reading{Fault: bulk}},
		{name: "bulk length of -1 is refused", stream: "*1\r\n$-1\r\n", want: reading{Fault: bulk}},
		{name: "bulk length without end is refused", stream: "*1\r\n$" + strings.Repeat("1", 70_000),
			want: reading{Fault: "Protocol error: too big bulk count string"}},
		{name: "count of 3000000000 is refused", stream: "*3000000000\r\n", want: reading{Fault: count}},
		{name: "count above the limit is refused", stream: "*1048577\r\n", want: reading{Fault: count}},
		{name: "count without end is refused", stream: "*" + strings.Repeat("1", 70_000),
			want: reading{Fault: "Protocol error: too big mbulk count string"}},
		{name: "empty bulk length is refused", stream: "*1\r\n$\r\n", want: reading{Fault: bulk}},
		{name: "bulk length of -0 is refused", stream: "*1\r\n$-0\r\n\r\n", want: reading{Fault: bulk}},
		{name: "bulk length with leading zeros is refused", stream: "*1\r\n$0004\r\nPING\r\n", want: reading{Fault: bulk}},
		{name: "bulk length with a plus sign is refused", stream: "*1\r\n$+4\r\nPING\r\n", want: reading{Fault: bulk}},
		{name: "count with a leading zero is refused", stream: "*01\r\n$4\r\nPING\r\n", want: reading{Fault: count}},
		{name: "empty count is refused", stream: "*\r\n", want: reading{Fault: count}},
		{name: "count of zero is skipped", stream: "*0\r\n" + sent, want: reading{Commands: ping}},
		{name: "negative count is skipped", stream: "*-1\r\n" + sent, want: reading{Commands: ping}},
		{name: "a hundred empty requests are skipped", stream: strings.Repeat("*0\r\n", 100) + sent, want: reading{Commands: ping}},
		{name: "empty requests count in a row only", stream: strings.Repeat("*-1\r\n", 99) + sent + strings.Repeat("\r\n", 99),
			want: reading{Commands: ping}},
		{name: "one empty request more than a hundred is refused", stream: strings.Repeat("*0\r\n", 50) + strings.Repeat("\n", 51),
			want: reading{Fault: "Protocol error: too many empty requests"}},
		{name: "wrong bytes behind a bulk are refused", stream: "*1\r\n$4\r\nPINGxx", want: reading{Fault: end}},
		{name: "a wrong second byte behind a bulk is refused", stream: "*1\r\n$4\r\nPING\rx", want: reading{Fault: end}},
		{name: "an array as argument is refused", stream: "*1\r\n*1\r\n$4\r\nPING\r\n",
			want: reading{Fault: "Protocol error: expected '$', got '*'"}},
		{name: "a control byte for a type is not echoed", stream: "*1\r\n\x1b[2J", want: reading{Fault: "Protocol error: expected '$', got ' '"}},
		{name: "bare LF behind a count is refused at once", stream: "*1\n", want: reading{Fault: count}},
		{name: "bare CR behind a count is refused", stream: "*1\rx", want: reading{Fault: count}},
		{name: "bare LF behind a bulk length is refused at once", stream: "*1\r\n$4\n", want: reading{Fault: bulk}},
		{name: "bare CR behind a bulk length is refused", stream: "*1\r\n$4\rxPING\r\n", want: reading{Fault: bulk}},
		{name: "inline hex escape is decoded", stream: "\"\\x41\"\r\n", want: reading{Commands: [][]string{{"A"}}}},
		{name: "inline tab separates words", stream: "ECHO\ta\r\n", want: reading{Commands: [][]string{{"ECHO", "a"}}}},
		{name: "inline NUL is refused at once", stream: "PI\x00", want: reading{Fault: nul}},
		{name: "inline NUL behind a command is refused", stream: "PING\r\n\x00", want: reading{Commands: ping, Fault: nul}},
		{name: "inline line of 64 KiB is taken", stream: strings.Repeat("a", 64<<10) + "\r\n",
			want: reading{Commands: [][]string{{strings.Repeat("a", 64<<10)}}}},
		{name: "inline line over 64 KiB is refused", stream: strings.Repeat("a", 64<<10+1) + "\r\n", want: reading{Fault: line}},
		{name: "inline line over 64 KiB without end is refused", stream: strings.Repeat("a", 64<<10+2), want: reading{Fault: line}},
		{name: "inline line over 64 KiB that ends in LF only is refused", stream: strings.Repeat("a", 64<<10+1) + "\n", want: reading{Fault: line}},
		{name: "inline line over 4 KiB before login is refused", stream: strings.Repeat("a", 4<<10+2), limits: BeforeLogin, want: reading{Fault: line}},
		{name: "unbalanced quotes are refused", stream: "SET a \"b\r\n", want: reading{Fault: "Protocol error: unbalanced quotes in request"}},
		{name: "HTTP POST runs nothing", stream: "POST / HTTP/1.1\r\nHost: redis\r\n\r\nFLUSHALL\r\n",
			want: reading{Fault: http, Kind: CrossProtocol}},
		{name: "HTTP Host header runs nothing", stream: "Host: redis\r\nFLUSHALL\r\n", want: reading{Fault: http, Kind: CrossProtocol}},
		{name: "HTTP GET runs nothing", stream: "GET / HTTP/1.1\r\nFLUSHALL\r\n", want: reading{Fault: http, Kind: CrossProtocol}},
		{name: "inline GET of a key is no HTTP", stream: "GET /\r\n", want: reading{Commands: [][]string{{"GET", "/"}}}},
		{name: "HTTP OPTIONS runs nothing", stream: "OPTIONS *\r\nFLUSHALL\r\n", want: reading{Fault: http, Kind: CrossProtocol}},
		{name: "HTTP/2 preface runs nothing", stream: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", want: reading{Fault: http, Kind: CrossProtocol}},
		{name: "POST as an array closes as in Redis", stream: string(command("post", "/")) + sent, want: reading{Fault: http, Kind: CrossProtocol}},
		{name: "Host: as an array closes as in Redis", stream: string(command("Host:")) + sent, want: reading{Fault: http, Kind: CrossProtocol}},
		{name: "TLS ClientHello is told at its second byte", stream: "\x16\x03",
			want: reading{Fault: "Protocol error: TLS handshake on a plaintext port", Kind: CrossProtocol}},
		{name: "eleven arguments before login are refused", stream: "*11\r\n", limits: BeforeLogin,
			want: reading{Fault: "Protocol error: unauthenticated multibulk length"}},
		{name: "eleven inline arguments before login are refused", stream: strings.Repeat("a ", 11) + "\r\n", limits: BeforeLogin,
			want: reading{Fault: "Protocol error: unauthenticated multibulk length"}},
		{name: "inline arguments above the limit are refused", stream: "a b c d\n", limits: narrow, want: reading{Fault: count}},
		{name: "a whole above its limit is refused before it has come", stream: "*3\r\n$9\r\naaaaaaaaa\r\n$9\r\n", limits: narrow,
			want: reading{Fault: "Protocol error: too big request"}},
		{name: "ten arguments before login are taken", stream: strings.Repeat("a ", 10) + "\r\n", limits: BeforeLogin,
			want: reading{Commands: [][]string{strings.Fields(strings.Repeat("a ", 10))}}},
		{name: "16 KiB and a byte before login are refused", stream: "*2\r\n$4\r\nAUTH\r\n$16385\r\n", limits: BeforeLogin,
			want: reading{Fault: "Protocol error: unauthenticated bulk length"}},
		{name: "a whole over its limit before login is refused",
			stream: string(command("AUTH", strings.Repeat("a", 16<<10), strings.Repeat("a", 16<<10), strings.Repeat("a", 16<<10))),
			limits: BeforeLogin, want: reading{Fault: "Protocol error: unauthenticated request too big"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.limits == (Limits{}) {
				test.limits = afterLogin
			}
			// A line of 64 KiB fed byte by byte once is enough.
			split := readSplit
			if len(test.stream) > 10_000 {
				split = func(t testing.TB, l Limits, stream []byte) reading {
					if diff := cmp.Diff(read(t, l, stream), read(t, l, single(stream)...)); diff != "" {
						t.Fatal(diff)
					}
					return read(t, l, stream)
				}
			}
			if diff := cmp.Diff(test.want, split(t, test.limits, []byte(test.stream))); diff != "" {
				t.Fatalf("(-want +got)\n%s", diff)
			}
		})
	}
}

// Eighty thousand one-byte arguments in small writes once cost a reader fifty
// seconds, because it began anew at every write.
func TestReaderIsLinearInManySmallWrites(t *testing.T) {
	const args = 80_000
	stream := fmt.Appendf(nil, "*%d\r\n", args)
	for range args {
		stream = append(stream, "$1\r\nx\r\n"...)
	}
	for _, write := range []int{1, 7, 100, 64 << 10} {
		var list countedBuffers
		var r Reader
		r.Reset(afterLogin, &list)
		started := time.Now()
		var got int
		for rest := stream; len(rest) > 0; {
			k := min(write, len(rest))
			r.Feed(rest[:k])
			rest = rest[k:]
			argv, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			got = len(argv)
			r.Release()
		}
		if got != args {
			t.Fatalf("%d arguments", got)
		}
		if list.bytes > 4*len(stream) {
			t.Errorf("writes of %d: %d bytes of buffers for %d of input", write, list.bytes, len(stream))
		}
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("writes of %d took %v", write, took)
		}
	}
}

type countedBuffers struct{ bytes int }

func (c *countedBuffers) Get(n int) []byte { c.bytes += n; return make([]byte, n) }
func (c *countedBuffers) Put([]byte)       {}

// What a client announces costs nothing; what it sends does.
func TestReaderDoesNotAllocateWhatIsOnlyAnnounced(t *testing.T) {
	for _, stream := range []string{
		"*1048576\r\n",
		"*1048576\r\n$1\r\nx\r\n",
		"*2\r\n$3\r\nGET\r\n$536870000\r\n",
		"*2\r\n$3\r\nGET\r\n$536870000\r\nabc",
	} {
		var r Reader
		r.Reset(afterLogin, nil)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, p := range single([]byte(stream)) {
			r.Feed(p)
			if args, err := r.Next(); args != nil || err != nil {
				t.Fatalf("%q: %q %v", stream, args, err)
			}
			r.Release()
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 4096 {
			t.Errorf("%q: %d bytes allocated", stream, grown)
		}
		if r.Buffered() > 128 {
			t.Errorf("%q: %d bytes held", stream, r.Buffered())
		}
	}
}

func TestReaderCostsAStrangerLessThan64KiB(t *testing.T) {
	var r Reader
	r.Reset(BeforeLogin, nil)
	most := 0
	stream := command("AUTH", strings.Repeat("u", 16<<10), strings.Repeat("p", 16<<10), strings.Repeat("x", 15<<10))
	for _, p := range single(stream[:len(stream)-1]) {
		r.Feed(p)
		if args, err := r.Next(); args != nil || err != nil {
			t.Fatal(err)
		}
		r.Release()
		most = max(most, r.Buffered())
	}
	if most > BeforeLogin.Request {
		t.Fatalf("%d bytes held", most)
	}
}

func TestReaderTakesLongTokensOfLoginsOnly(t *testing.T) {
	l := BeforeLogin
	l.AuthBulk, l.Request = 64<<10, 65<<10
	token := strings.Repeat("t", 64<<10)
	for _, test := range []struct {
		args  []string
		fault string
	}{
		{[]string{"AUTH", token}, ""},
		{[]string{"auth", "u", token}, ""},
		{[]string{"HELLO", "3", "AUTH", "u", token}, ""},
		{[]string{"AUTH", token + "t"}, "Protocol error: unauthenticated bulk length"},
		{[]string{"PING", token}, "Protocol error: unauthenticated bulk length"},
		{[]string{token}, "Protocol error: unauthenticated bulk length"},
		{[]string{"AUTH", strings.Repeat("u", 2000), token}, "Protocol error: unauthenticated request too big"},
	} {
		stream := command(test.args...)
		for _, pieces := range [][][]byte{{stream}, {stream[:9], stream[9:]}} {
			got := read(t, l, pieces...)
			if got.Fault != test.fault || test.fault == "" && !cmp.Equal(got.Commands, [][]string{test.args}) {
				t.Errorf("%.20q of %d bytes: %q", test.args, len(stream), got.Fault)
			}
		}
	}
}

func TestFaultsAreNamedAsInEvents(t *testing.T) {
	if Malformed.String() != "protocol_error" || CrossProtocol.String() != "cross_protocol" {
		t.Fatal(Malformed, CrossProtocol)
	}
	for c := range 256 {
		text := unexpected(byte(c)).Error()
		if !bytes.HasPrefix(AppendError(nil, "ERR "+text), []byte("-ERR Protocol error: expected '$', got '")) ||
			strings.ContainsAny(text, "\r\n\x00\x1b") {
			t.Fatalf("%q", text)
		}
	}
}
