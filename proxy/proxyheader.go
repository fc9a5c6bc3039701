package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The PROXY protocol, versions 1 and 2, as haproxy's proxy-protocol.txt has it:
// a balancer writes whom it speaks for before anything else. A header may come
// in pieces, in one segment with what follows it, and with extensions after the
// addresses, of which only the checksum concerns us.
const (
	headerV1Most   = 107       // bytes of a line, its end included
	headerV2Fixed  = 16        // signature, version and command, family, length
	headerV2Most   = 16 + 4096 // more than a client certificate as an extension needs
	headerV2Crc    = 0x03      // extension: CRC-32C of the whole header
	headerV2Local  = 0x20
	headerV2Proxy  = 0x21
	familyUnspec   = 0x00
	familyTCP4     = 0x11
	familyTCP6     = 0x21
	familyUnix     = 0x31
	addressesTCP4  = 4 + 4 + 2 + 2
	addressesTCP6  = 16 + 16 + 2 + 2
	addressesUnix  = 108 + 108
	extensionFixed = 3 // type, length
)

var (
	headerV1Sig = []byte("PROXY ")
	headerV2Sig = []byte("\r\n\r\n\x00\r\nQUIT\n")
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

// errHeader is all that is said of bytes that are no header: their sender is a
// stranger, or a balancer that is set up wrongly.
var errHeader = errors.New("proxy: no valid PROXY protocol header")

// parseHeader reads a header at the beginning of b. n is its length, 0 while
// bytes are missing. from is whom it speaks for, invalid where that is the peer
// itself: a balancer's own check (LOCAL), or a client without an IP address
// (UNKNOWN, a unix socket).
func parseHeader(b []byte) (from netip.AddrPort, n int, err error) {
	switch {
	case len(b) == 0:
		return from, 0, nil
	case b[0] == headerV1Sig[0]:
		return parseHeaderV1(b)
	default:
		return parseHeaderV2(b)
	}
}

func parseHeaderV1(b []byte) (from netip.AddrPort, n int, err error) {
	known := min(len(b), len(headerV1Sig))
	if !bytes.Equal(b[:known], headerV1Sig[:known]) {
		return from, 0, errHeader
	}
	end := bytes.IndexByte(b[:min(len(b), headerV1Most)], '\n')
	switch {
	case end < 0 && len(b) < headerV1Most:
		return from, 0, nil
	case end < 0 || b[end-1] != '\r':
		return from, 0, errHeader
	}
	words := strings.Split(string(b[len(headerV1Sig):end-1]), " ")
	n = end + 1
	if words[0] == "UNKNOWN" {
		return from, n, nil // what follows it has to be ignored
	}
	if len(words) != 5 {
		return from, 0, errHeader
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		addr, err := netip.ParseAddr(words[1+i])
		port, ok := headerPort(words[3+i])
		fits := words[0] == "TCP4" && addr.Is4() || words[0] == "TCP6" && addr.Is6() && addr.Zone() == ""
		if err != nil || !ok || !fits {
			return from, 0, errHeader
		}
		ends[i] = netip.AddrPortFrom(addr.Unmap(), port)
	}
	return ends[0], n, nil
}

// headerPort reads a port as the protocol writes it: digits without a zero in front.
func headerPort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && strconv.FormatUint(n, 10) == s
}

func parseHeaderV2(b []byte) (from netip.AddrPort, n int, err error) {
	known := min(len(b), len(headerV2Sig))
	if !bytes.Equal(b[:known], headerV2Sig[:known]) {
		return from, 0, errHeader
	}
	if len(b) < headerV2Fixed {
		return from, 0, nil
	}
	n = headerV2Fixed + int(binary.BigEndian.Uint16(b[14:]))
	command, family := b[12], b[13]
	switch {
	case n > headerV2Most, command != headerV2Local && command != headerV2Proxy:
		return from, 0, errHeader
	case len(b) < n:
		return from, 0, nil
	case command == headerV2Local:
		return from, n, nil // family and addresses have to be ignored
	}
	body, length := b[headerV2Fixed:n], 0
	switch family {
	case familyUnspec:
	case familyTCP4:
		length = addressesTCP4
	case familyTCP6:
		length = addressesTCP6
	case familyUnix:
		length = addressesUnix
	default: // datagrams, and what is not defined
		return from, 0, errHeader
	}
	if len(body) < length || !validExtensions(b[:n], headerV2Fixed+length) {
		return from, 0, errHeader
	}
	switch family {
	case familyTCP4:
		from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
	case familyTCP6:
		from = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:]))
	}
	return from, n, nil
}

// validExtensions walks the extensions, which begin at an offset of the header,
// and checks the checksum if there is one.
func validExtensions(header []byte, at int) bool {
	for at < len(header) {
		if at+extensionFixed > len(header) {
			return false
		}
		kind, value := header[at], at+extensionFixed
		next := value + int(binary.BigEndian.Uint16(header[at+1:]))
		if next > len(header) {
			return false
		}
		if kind == headerV2Crc && !checksumFits(header, value, next) {
			return false
		}
		at = next
	}
	return true
}

// checksumFits compares the checksum at [from, to) with that of the header, in
// which its own place counts as zero.
func checksumFits(header []byte, from, to int) bool {
	if to-from != crc32.Size {
		return false
	}
	sum := crc32.Update(0, castagnoli, header[:from])
	sum = crc32.Update(sum, castagnoli, make([]byte, crc32.Size))
	sum = crc32.Update(sum, castagnoli, header[to:])
	return sum == binary.BigEndian.Uint32(header[from:])
}

// readHeader takes a header from a connection, and gives what came behind it in
// the same read. It returns by the deadline, and holds at most a header and one read.
func readHeader(nc net.Conn, deadline time.Time) (from netip.AddrPort, rest []byte, err error) {
	if err := nc.SetReadDeadline(deadline); err != nil {
		return from, nil, err
	}
	b := make([]byte, 0, 512) // nearly every header and the first bytes after it
	for {
		if len(b) == cap(b) {
			b = append(make([]byte, 0, headerV2Most+512), b...)
		}
		got, err := nc.Read(b[len(b):cap(b)])
		b = b[:len(b)+got]
		from, n, bad := parseHeader(b)
		switch {
		case bad != nil:
			return from, nil, bad
		case n > 0:
			return from, b[n:], nc.SetReadDeadline(time.Time{})
		case err != nil:
			return from, nil, err
		}
	}
}

// senders are the peers that write a header: every connection of theirs begins
// with one, and nobody else is let in.
type senders struct {
	networks []netip.Prefix
	unix     bool
}

// sendersOf gives nil for a listener that takes no headers.
func sendersOf(o *ListenerOptions) *senders {
	if len(o.Proxy) == 0 && !o.ProxyUnix {
		return nil
	}
	s := &senders{unix: o.ProxyUnix}
	for _, p := range o.Proxy {
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 { // peers' addresses are compared as IPv4
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		s.networks = append(s.networks, p.Masked())
	}
	return s
}

// same reports whether both are the same peers.
func (s *senders) same(as *senders) bool {
	if s == nil || as == nil {
		return s == as
	}
	return s.unix == as.unix && slices.Equal(s.networks, as.networks)
}

// include reports whether a peer may send a header. An invalid address is that
// of a peer on a unix socket.
func (s *senders) include(peer netip.Addr) bool {
	if !peer.IsValid() {
		return s.unix
	}
	for _, p := range s.networks {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}
