package audit

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/acl"
)

// Bounds on what one line may hold, in bytes as written. What is over is cut
// and the cut is shown.
const (
	maxField = 1024 // a text field
	maxKey   = 256  // one of keys
	maxKeys  = 16   // entries in keys; one more says how many are left out
	maxWord  = 128  // a text of a group
	// maxLine is above anything AppendJSON can make: nineteen text fields, the keys,
	// the groups, and less than 1 KiB of names, numbers, addresses, the time and the hash.
	maxLine = 19*maxField + (maxKeys+1)*(maxKey+3) + MaxGroups*(2*maxWord+128) + 1024
)

const timeLayout = "2006-01-02T15:04:05.000000Z"

// AppendJSON appends e as one JSON object without a line end and returns the
// extended slice. Keys come in one fixed order and are absent where they don't
// apply. Nothing in e can add a key, end the line, or bring a control, format or
// private-use character into it: those are written as \u escapes, bytes that are
// not UTF-8 as U+FFFD. A text of more than 1 KiB (a key: 256 bytes) is cut and
// ends with "…[cut N bytes]".
func AppendJSON(dst []byte, e *Event) []byte { return appendNative(dst, e, &shape{}) }

// appendNative is AppendJSON with the keys as a sink wants them.
func appendNative(dst []byte, e *Event, as *shape) []byte {
	l := line{dst}
	l.buf = append(l.buf, `{"time":"`...)
	l.buf = e.Time.UTC().AppendFormat(l.buf, timeLayout)
	l.buf = append(l.buf, '"')
	l.number("seq", e.Seq)
	l.text("event", e.Kind.String())
	l.text("mode", e.Mode)
	l.numberIf("conn", e.Conn)
	l.source(e)
	l.text("user", e.User)
	l.text("method", e.Method.String())
	l.factors(e.Factors)
	l.text("status", e.Status.String())
	l.text("reason", reason(e))
	l.text("rule", e.Rule)
	l.text("command", e.Command)
	l.keys(e.Keys, as)
	l.transport(e)
	l.text("token_id", e.TokenID)
	l.time("expires", e.Expires)
	l.totals(e)
	l.numberIf("folded", e.Folded)
	l.crowd(e)
	if e.Kind == Checkpoint {
		l.text("sink", e.Sink)
		l.number("head_seq", e.Head.Seq)
		l.text("head", e.Head.Hash)
	}
	return append(l.buf, '}')
}

// crowd writes who is connected.
func (l *line) crowd(e *Event) {
	l.text("backend", e.Backend)
	if e.Kind != Clients {
		return
	}
	l.number("connections", e.Connections)
	if e.Backend != "" {
		l.number("ours", e.Ours)
	}
	if e.Parts > 1 {
		l.number("part", uint64(e.Part))
		l.number("parts", uint64(e.Parts))
	}
	l.name("clients")
	l.buf = append(l.buf, '[')
	for i, g := range e.Groups[:min(len(e.Groups), MaxGroups)] {
		if i > 0 {
			l.buf = append(l.buf, ',')
		}
		l.buf = append(l.buf, `{"count":`...)
		l.buf = strconv.AppendUint(l.buf, g.Count, 10)
		l.addr("ip", g.IP)
		l.word("user", g.User)
		l.word("library", g.Library)
		l.buf = append(l.buf, '}')
	}
	l.buf = append(l.buf, ']')
}

// word is text of a group, cut shorter.
func (l *line) word(key, s string) {
	if s != "" {
		l.name(key)
		l.buf = appendText(l.buf, s, maxWord)
	}
}

// reason is the one reason field's text.
func reason(e *Event) string {
	if e.Reason != 0 {
		return e.Reason.String()
	}
	return e.Close.String()
}

// line is a JSON object being written; the first member is there already.
type line struct{ buf []byte }

func (l *line) source(e *Event) {
	l.text("listener", e.Listener)
	l.addr("client_ip", e.ClientIP)
	l.numberIf("client_port", uint64(e.ClientPort))
	l.addr("peer_ip", e.PeerIP)
}

func (l *line) transport(e *Event) {
	l.text("tls", e.TLS)
	l.text("cipher", e.Cipher)
	if e.TLS != "" {
		l.name("resumed")
		l.buf = strconv.AppendBool(l.buf, e.Resumed)
	}
	l.text("cert_subject", e.Cert.Subject)
	l.text("cert_uri", e.Cert.URI)
	l.text("cert_serial", e.Cert.Serial)
	l.text("cert_sha256", e.Cert.SHA256)
}

// totals writes the sums of a connection: all of them at its end, where zero is
// an answer too.
func (l *line) totals(e *Event) {
	put := l.numberIf
	if e.Kind == CloseConn {
		put = l.number
	}
	put("duration_ms", uint64(max(e.Duration, 0)/time.Millisecond))
	put("bytes_in", e.BytesIn)
	put("bytes_out", e.BytesOut)
	put("commands", e.Commands)
	put("refused", e.RefusedCalls)
}

// appendDropped appends the line that stands for the lines numbered first to
// last, which a sink could not take. Its seq is the last of them, so that seq
// rises through the file and every number is either there or accounted for.
func appendDropped(dst []byte, at time.Time, first, last uint64) []byte {
	dst = AppendJSON(dst, &Event{Time: at, Seq: last, Kind: Dropped})
	l := line{dst[:len(dst)-1]}
	l.number("dropped", last-first+1)
	l.number("seq_first", first)
	l.number("seq_last", last)
	return append(l.buf, '}')
}

func (l *line) name(key string) {
	l.buf = append(l.buf, ',', '"')
	l.buf = append(l.buf, key...)
	l.buf = append(l.buf, '"', ':')
}

func (l *line) number(key string, n uint64) {
	l.name(key)
	l.buf = strconv.AppendUint(l.buf, n, 10)
}

func (l *line) numberIf(key string, n uint64) {
	if n != 0 {
		l.number(key, n)
	}
}

// factors writes a list of names of ours, none for the empty set.
func (l *line) factors(f acl.Factors) {
	sep := byte('[')
	for i, name := range f.Names() {
		if i == 0 {
			l.name("factors")
		}
		l.buf = append(l.buf, sep, '"')
		l.buf = append(append(l.buf, name...), '"')
		sep = ','
	}
	if sep == ',' {
		l.buf = append(l.buf, ']')
	}
}

func (l *line) time(key string, t time.Time) {
	if t.IsZero() {
		return
	}
	l.name(key)
	l.buf = append(l.buf, '"')
	l.buf = t.UTC().AppendFormat(l.buf, time.RFC3339)
	l.buf = append(l.buf, '"')
}

func (l *line) addr(key string, a netip.Addr) {
	if !a.IsValid() {
		return
	}
	if a = a.Unmap(); a.Zone() != "" { // text an interface was named with
		l.text(key, a.String())
		return
	}
	l.name(key)
	l.buf = append(a.AppendTo(append(l.buf, '"')), '"')
}

func (l *line) text(key, s string) {
	if s != "" {
		l.name(key)
		l.buf = appendText(l.buf, s, maxField)
	}
}

func (l *line) keys(keys [][]byte, as *shape) {
	if len(keys) == 0 || as.keys == KeysOff {
		return
	}
	l.name("keys")
	l.buf = append(l.buf, '[')
	for i, k := range keys {
		if i > 0 {
			l.buf = append(l.buf, ',')
		}
		if i == maxKeys {
			l.buf = append(l.buf, `"…[cut `...)
			l.buf = strconv.AppendInt(l.buf, int64(len(keys)-i), 10)
			l.buf = append(l.buf, ` keys]"`...)
			break
		}
		l.buf = as.appendKey(l.buf, k)
	}
	l.buf = append(l.buf, ']')
}

// markRoom is more than the longest cut mark takes.
const markRoom = len("…[cut 18446744073709551615 bytes]")

// appendText appends s as a JSON string of at most limit bytes and two quotes.
// It stops reading where the limit is reached, so a huge s costs no more.
func appendText[T string | []byte](dst []byte, s T, limit int) []byte {
	dst = append(dst, '"')
	start, cut, cutAt := len(dst), -1, 0
	for i := 0; i < len(s); {
		if cut < 0 && len(dst)-start > limit-markRoom-maxEscape {
			cut, cutAt = len(dst), i // the last place from which a mark still fits
		}
		n := 1
		if b := s[i]; b < utf8.RuneSelf {
			dst = appendASCII(dst, b)
		} else {
			var r rune
			// A rune is four bytes at most; converting more of s would copy it all.
			r, n = utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			dst = appendRune(dst, r)
		}
		i += n
		if len(dst)-start > limit {
			dst = append(dst[:cut], "…[cut "...)
			dst = strconv.AppendInt(dst, int64(len(s)-cutAt), 10)
			dst = append(dst, " bytes]"...)
			break
		}
	}
	return append(dst, '"')
}

// maxEscape is the longest form one character takes: a surrogate pair.
const maxEscape = len(`\ud800\udc00`)

const hexDigits = "0123456789abcdef"

func appendASCII(dst []byte, b byte) []byte {
	switch {
	case b == '"' || b == '\\':
		return append(dst, '\\', b)
	case b >= ' ' && b != 0x7f:
		return append(dst, b)
	}
	return appendUnit(dst, rune(b))
}

// appendRune keeps what prints and escapes the rest: C1 controls (which some
// terminals obey), U+2028 and U+2029 (which some readers take for line ends),
// direction marks and other invisible characters that make a line read as
// something it is not.
func appendRune(dst []byte, r rune) []byte {
	switch {
	case r == utf8.RuneError || strconv.IsPrint(r):
		return utf8.AppendRune(dst, r)
	case r > 0xffff:
		r -= 0x10000
		return appendUnit(appendUnit(dst, 0xd800+r>>10), 0xdc00+r&0x3ff)
	}
	return appendUnit(dst, r)
}

func appendUnit(dst []byte, u rune) []byte {
	return append(dst, '\\', 'u', hexDigits[u>>12&15], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
}
