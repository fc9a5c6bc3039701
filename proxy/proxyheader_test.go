package proxy

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// headerV2 is a header as a balancer writes it.
func headerV2(command, family byte, addresses []byte, extensions ...[]byte) []byte {
	b := append(bytes.Clone(headerV2Sig), command, family, 0, 0)
	b = append(b, addresses...)
	for _, e := range extensions {
		b = append(b, e...)
	}
	binary.BigEndian.PutUint16(b[14:], uint16(len(b)-16))
	return b
}

func extension(kind byte, value []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value))), value...)
}

var (
	fourToFour = []byte{192, 0, 2, 7, 198, 51, 100, 1, 0xc3, 0x50, 0x18, 0xeb}
	sixToSix   = append(append(netip.MustParseAddr("2001:db8::7").AsSlice(), netip.MustParseAddr("2001:db8::1").AsSlice()...), 0xc3, 0x50, 0x18, 0xeb)
	mappedFour = append(append(netip.MustParseAddr("::ffff:192.0.2.7").AsSlice(), netip.MustParseAddr("::ffff:198.51.100.1").AsSlice()...), 0xc3, 0x50, 0x18, 0xeb)
)

// summed puts the right checksum into a header.
func summed(b []byte, at int) []byte {
	clear(b[at : at+4])
	binary.BigEndian.PutUint32(b[at:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// goodHeaders are headers and whom they speak for.
var goodHeaders = map[string]struct {
	header []byte
	from   string
}{
	"v1 over IPv4":                     {[]byte("PROXY TCP4 192.0.2.7 198.51.100.1 50000 6379\r\n"), "192.0.2.7:50000"},
	"v1 over IPv6":                     {[]byte("PROXY TCP6 2001:db8::7 2001:db8::1 50000 6379\r\n"), "[2001:db8::7]:50000"},
	"v1 with an IPv4-mapped address":   {[]byte("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 1 2\r\n"), "192.0.2.7:1"},
	"v1 of the greatest length":        {[]byte("PROXY UNKNOWN ffff:f...f:ffff" + strings.Repeat("x", 107-2-29) + "\r\n"), ""},
	"v1 unknown":                       {[]byte("PROXY UNKNOWN\r\n"), ""},
	"v1 unknown with noise":            {[]byte("PROXY UNKNOWN and whatever else\r\n"), ""},
	"v2 over IPv4":                     {headerV2(0x21, 0x11, fourToFour), "192.0.2.7:50000"},
	"v2 over IPv6":                     {headerV2(0x21, 0x21, sixToSix), "[2001:db8::7]:50000"},
	"v2 with an IPv4-mapped address":   {headerV2(0x21, 0x21, mappedFour), "192.0.2.7:50000"},
	"v2 of a unix socket":              {headerV2(0x21, 0x31, make([]byte, 216)), ""},
	"v2 unspecified":                   {headerV2(0x21, 0x00, nil), ""},
	"v2 unspecified with an extension": {headerV2(0x21, 0x00, nil, extension(0x04, []byte("pad"))), ""},
	"v2 local":                         {headerV2(0x20, 0x00, nil), ""},
	"v2 local with addresses":          {headerV2(0x20, 0x11, fourToFour), ""},
	"v2 local with noise":              {headerV2(0x20, 0xff, []byte("no addresses at all")), ""},
	"v2 with extensions":               {headerV2(0x21, 0x11, fourToFour, extension(0x01, []byte("h2")), extension(0x04, nil), extension(0xe5, make([]byte, 300))), "192.0.2.7:50000"},
	"v2 of the greatest length":        {headerV2(0x21, 0x11, fourToFour, extension(0x20, make([]byte, 4096-12-3))), "192.0.2.7:50000"},
	"v2 with its checksum":             {summed(headerV2(0x21, 0x11, fourToFour, extension(0x03, make([]byte, 4)), extension(0x01, []byte("h2"))), 16+12+3), "192.0.2.7:50000"},
}

var badHeaders = map[string][]byte{
	"RESP":                             []byte("*1\r\n$4\r\nPING\r\n"),
	"an inline command":                []byte("PING\r\n"),
	"a TLS ClientHello":                {0x16, 0x03, 0x01, 0x02, 0x00, 0x01},
	"v1 in lower case":                 []byte("proxy tcp4 192.0.2.7 198.51.100.1 1 2\r\n"),
	"v1 with another word":             []byte("PROXYTCP4 192.0.2.7 198.51.100.1 1 2\r\n"),
	"v1 over UDP":                      []byte("PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n"),
	"v1 without addresses":             []byte("PROXY TCP4\r\n"),
	"v1 with a word too many":          []byte("PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n"),
	"v1 with two blanks":               []byte("PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n"),
	"v1 of the other family":           []byte("PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n"),
	"v1 IPv4 in an IPv6 line":          []byte("PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n"),
	"v1 with a zone":                   []byte("PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n"),
	"v1 with an octal address":         []byte("PROXY TCP4 192.0.02.7 198.51.100.1 1 2\r\n"),
	"v1 with a port too high":          []byte("PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n"),
	"v1 with a signed port":            []byte("PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n"),
	"v1 with a port's leading zero":    []byte("PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n"),
	"v1 with a bad destination":        []byte("PROXY TCP4 192.0.2.7 nowhere 1 2\r\n"),
	"v1 with a bare line feed":         []byte("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n"),
	"v1 without an end":                []byte("PROXY UNKNOWN " + strings.Repeat("x", 200)),
	"v1 with its end one byte too far": []byte("PROXY UNKNOWN " + strings.Repeat("x", 107-14-1) + "\r\n"),
	"v2 with a bad signature":          append([]byte("\r\n\r\n\x00\r\nQUIT\r"), 0x21, 0x11, 0, 0),
	"v2 of version 1":                  headerV2(0x11, 0x11, fourToFour),
	"v2 of version 3":                  headerV2(0x31, 0x11, fourToFour),
	"v2 with another command":          headerV2(0x22, 0x11, fourToFour),
	"v2 over UDP":                      headerV2(0x21, 0x12, fourToFour),
	"v2 of an unknown family":          headerV2(0x21, 0x41, fourToFour),
	"v2 without addresses":             headerV2(0x21, 0x11, nil),
	"v2 with half its addresses":       headerV2(0x21, 0x21, fourToFour),
	"v2 with half a unix address":      headerV2(0x21, 0x31, make([]byte, 108)),
	"v2 with half an extension":        headerV2(0x21, 0x11, fourToFour, []byte{0x01, 0x00}),
	"v2 with too long an extension":    headerV2(0x21, 0x11, fourToFour, []byte{0x01, 0x00, 0x09, 'h', '2'}),
	"v2 with too much behind":          headerV2(0x21, 0x11, fourToFour, extension(0x20, make([]byte, 4096-12-2))),
	"v2 of 64 KiB":                     headerV2(0x21, 0x11, fourToFour, make([]byte, 65535-12)),
	"v2 local of 64 KiB":               headerV2(0x20, 0x00, make([]byte, 65535)),
	"v2 with a wrong checksum":         headerV2(0x21, 0x11, fourToFour, extension(0x03, []byte{1, 2, 3, 4})),
	"v2 with a short checksum":         headerV2(0x21, 0x11, fourToFour, extension(0x03, []byte{1, 2})),
}

func printed(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func TestAProxyHeaderSaysWhomItSpeaksFor(t *testing.T) {
	for name, c := range goodHeaders {
		t.Run(name, func(t *testing.T) {
			for _, behind := range []string{"", "*1\r\n", "\r\n\r\n\x00\r\nQUIT\n"} {
				from, n, err := parseHeader(append(bytes.Clone(c.header), behind...))
				if err != nil || n != len(c.header) || printed(from) != c.from {
					t.Fatalf("with %q behind: %q, %d of %d bytes, %v", behind, printed(from), n, len(c.header), err)
				}
			}
			for cut := range c.header {
				if from, n, err := parseHeader(c.header[:cut]); err != nil || n != 0 || from.IsValid() {
					t.Fatalf("cut at %d: %v, %d, %v; it may still become a header", cut, from, n, err)
				}
			}
		})
	}
}

func TestABadProxyHeaderIsRefused(t *testing.T) {
	for name, header := range badHeaders {
		if from, n, err := parseHeader(header); err == nil {
			t.Errorf("%s: taken for %v, %d bytes", name, from, n)
		}
	}
}

// inPieces is a connection that gives its bytes a few at a time and then ends.
type inPieces struct {
	net.Conn
	left  []byte
	piece int
	read  int
}

func (c *inPieces) SetReadDeadline(time.Time) error { return nil }
func (c *inPieces) Read(p []byte) (int, error) {
	if len(c.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.piece)], c.left)
	c.left = c.left[n:]
	c.read += n
	return n, nil
}

func TestAProxyHeaderComesInAnyPieces(t *testing.T) {
	behind := []byte("*1\r\n$4\r\nPING\r\n")
	for name, c := range goodHeaders {
		for _, piece := range []int{1, 2, 3, 7, 15, 16, 17, 28, 107, 511, 512, 513, 100000} {
			conn := &inPieces{left: append(bytes.Clone(c.header), behind...), piece: piece}
			from, rest, err := readHeader(conn, time.Time{})
			if err != nil || printed(from) != c.from {
				t.Fatalf("%s, %d bytes a read: %v, %v", name, piece, from, err)
			}
			if got := append(bytes.Clone(rest), conn.left...); !bytes.Equal(got, behind) {
				t.Fatalf("%s, %d bytes a read: %q is left behind the header", name, piece, got)
			}
		}
		for cut := range c.header {
			if _, _, err := readHeader(&inPieces{left: c.header[:cut], piece: 5}, time.Time{}); err == nil {
				t.Fatalf("%s: taken when cut off at %d", name, cut)
			}
		}
	}
}

// Whoever sends noise is found out before much of it is read.
func TestABadProxyHeaderIsFoundOutEarly(t *testing.T) {
	for name, header := range badHeaders {
		conn := &inPieces{left: append(bytes.Clone(header), make([]byte, 1<<20)...), piece: 1}
		if _, _, err := readHeader(conn, time.Time{}); err == nil || conn.read > headerV2Most {
			t.Errorf("%s: %v after %d bytes", name, err, conn.read)
		}
	}
}

func TestWhoMaySendAProxyHeader(t *testing.T) {
	s := sendersOf(&ListenerOptions{Proxy: []netip.Prefix{
		netip.MustParsePrefix("10.1.2.3/16"), netip.MustParsePrefix("::ffff:192.0.2.0/120"), netip.MustParsePrefix("2001:db8::/32"),
	}})
	for peer, want := range map[string]bool{
		"10.1.255.1": true, "10.2.0.1": false, "192.0.2.9": true, "192.0.3.1": false, "2001:db8::9": true, "2001:db9::1": false, "127.0.0.1": false,
	} {
		if s.include(netip.MustParseAddr(peer)) != want {
			t.Errorf("%s: %v", peer, !want)
		}
	}
	if s.include(netip.Addr{}) {
		t.Error("a peer on a unix socket is in no network")
	}
	if sendersOf(&ListenerOptions{}) != nil || !sendersOf(&ListenerOptions{ProxyUnix: true}).include(netip.Addr{}) {
		t.Error("unix listeners say for themselves whether a header comes")
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, c := range goodHeaders {
		f.Add(c.header)
	}
	for _, b := range badHeaders {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		from, n, err := parseHeader(b)
		if n < 0 || n > len(b) || n > headerV2Most || err != nil && (n != 0 || from.IsValid()) {
			t.Fatalf("%v, %d, %v", from, n, err)
		}
		if from.IsValid() && (from.Addr().Is4In6() || from.Addr().Zone() != "") {
			t.Fatalf("%v has two spellings", from)
		}
		// However it is cut, the answer never changes once it is given.
		for cut := range min(len(b), headerV2Fixed+64) {
			early, m, bad := parseHeader(b[:cut])
			if bad != nil && err == nil || m > 0 && (m != n || early != from) {
				t.Fatalf("cut at %d: %v, %d, %v; whole: %v, %d, %v", cut, early, m, bad, from, n, err)
			}
		}
	})
}
