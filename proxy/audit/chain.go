package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"time"
)

// A sink's lines form a chain. Each ends with
//
//	,"hash":"64 hexadecimal digits"}
//
// which is the HMAC-SHA-256 under the sink's key, or without a key the plain
// SHA-256, of the hash of the line before (32 bytes, zeros at the very beginning)
// followed by the line without that member: the same text ending with "}". A line
// can't be changed, taken out or moved without making hashes wrong that only who
// has the key can make right. Without a key anybody can: it then shows accidents.

// MinKey is how many bytes a chain's key has at least.
const MinKey = 32

// Key is the secret of a chain. It is never printed.
type Key struct {
	secret []byte
	id     string
}

// NewKey makes a key of a secret, which it copies.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) < MinKey {
		return nil, fmt.Errorf("a chain's key has %d bytes at least", MinKey)
	}
	k := &Key{secret: append([]byte(nil), secret...)}
	mac := hmac.New(sha256.New, k.secret)
	mac.Write([]byte("sallyport chain key id"))
	k.id = hex.EncodeToString(mac.Sum(nil)[:keyIDBytes])
	return k, nil
}

const keyIDBytes = 8

// ID tells keys apart without telling anything of them: 16 hexadecimal digits.
func (k *Key) ID() string {
	if k == nil {
		return ""
	}
	return k.id
}

// Format implements fmt.Formatter, so that no verb prints the secret.
func (k *Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "key %s", k.ID()) }

const (
	hashOpen  = `,"hash":"`
	hashClose = `"}`
	hashRoom  = len(hashOpen) + 2*sha256.Size + len(hashClose) - 1 // what sealing adds to a line
)

type digest [sha256.Size]byte

func (d digest) String() string { return hex.EncodeToString(d[:]) }

// parseDigest reads 64 hexadecimal digits, lower case.
func parseDigest(text []byte) (d digest, ok bool) {
	if len(text) != 2*len(d) {
		return d, false
	}
	for _, c := range text {
		if c >= 'A' && c <= 'F' {
			return d, false
		}
	}
	_, err := hex.Decode(d[:], text)
	return d, err == nil
}

// links makes hashes.
type links struct {
	key *Key
	sum hash.Hash
	out []byte
}

func newLinks(key *Key) *links {
	l := &links{key: key, sum: sha256.New(), out: make([]byte, 0, sha256.Size)}
	if key != nil {
		l.sum = hmac.New(sha256.New, key.secret)
	}
	return l
}

// next gives the hash of a line, without line end and hash member, after prev.
func (l *links) next(prev *digest, text []byte) (d digest) {
	l.sum.Reset()
	l.sum.Write(prev[:])
	l.sum.Write(text)
	l.out = l.sum.Sum(l.out[:0])
	copy(d[:], l.out)
	return d
}

// chain is a sink's chain as its goroutine extends it.
type chain struct {
	links *links
	last  digest // of the last line
	begun bool   // there is a last line
}

// seal appends a line, which ends with "}\n", to dst with its hash.
func (c *chain) seal(dst, text []byte) []byte {
	body := text[:len(text)-1]
	c.last, c.begun = c.links.next(&c.last, body), true
	dst = append(dst, body[:len(body)-1]...)
	dst = append(dst, hashOpen...)
	dst = hex.AppendEncode(dst, c.last[:])
	return append(dst, hashClose+"\n"...)
}

// What a chain line says of its chain.
const (
	chainBegins    = "begins"
	chainContinues = "continues"
	chainEnds      = "ends"
)

// Why a chain line was written.
const (
	openStart  = "start"
	openReopen = "reopen"
	openRotate = "rotate"
	openClose  = "close"
)

// appendChain appends the line, with its end, that begins, continues or ends a
// chain. It bears the number of the last event before it. torn is how many bytes
// of a line that was never finished stand before it.
func (c *chain) appendChain(dst []byte, at time.Time, seq uint64, why string, torn int64) []byte {
	status := chainBegins
	switch {
	case why == openClose:
		status = chainEnds
	case c.begun:
		status = chainContinues
	}
	dst = AppendJSON(dst, &Event{Time: at, Seq: seq, Kind: Chain})
	l := line{dst[:len(dst)-1]}
	l.text("status", status)
	l.text("reason", why)
	if status == chainContinues {
		l.text("prev", c.last.String())
	}
	l.text("key_id", c.links.key.ID())
	if torn > 0 {
		l.number("torn", uint64(torn))
	}
	return append(l.buf, "}\n"...)
}

var errNoHash = errors.New("the line ends with no hash")

// unseal takes a line without its end apart: what was hashed, and the hash. It
// changes text.
func unseal(text []byte) (body []byte, d digest, err error) {
	at := len(text) - len(hashClose) - 2*sha256.Size - len(hashOpen)
	if at < 1 || string(text[at:at+len(hashOpen)]) != hashOpen || string(text[len(text)-len(hashClose):]) != hashClose {
		return nil, d, errNoHash
	}
	d, ok := parseDigest(text[at+len(hashOpen) : len(text)-len(hashClose)])
	if !ok {
		return nil, d, errNoHash
	}
	text[at] = '}'
	return text[:at+1], d, nil
}
