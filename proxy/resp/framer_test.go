package resp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// frame is one reply as a Framer saw it.
type frame struct {
	Kind  byte
	Bytes string
}

// frames reads a node's bytes in the given pieces.
func frames(t testing.TB, proto int, pieces ...[]byte) (whole []frame, left string, err error) {
	t.Helper()
	var rest []byte
	var f Framer
	f.Reset(proto)
	for _, p := range pieces {
		for len(p) > 0 {
			n, done, err := f.Next(p)
			if err != nil {
				if !errors.Is(err, ErrReply) || n != 0 || done {
					t.Fatalf("%d %v %v", n, done, err)
				}
				if _, _, again := f.Next([]byte("+OK\r\n")); again != err {
					t.Fatalf("the error is not final: %v, then %v", err, again)
				}
				return whole, string(rest), err
			}
			if n <= 0 || n > len(p) || !done && n != len(p) {
				t.Fatalf("%d of %d bytes, done %v", n, len(p), done)
			}
			rest = append(rest, p[:n]...)
			p = p[n:]
			if f.Partial() == done {
				t.Fatalf("partial %v, done %v", f.Partial(), done)
			}
			if done {
				whole = append(whole, frame{f.Kind(), string(rest)})
				rest = rest[:0]
			}
		}
	}
	return whole, string(rest), nil
}

var replies = []struct {
	name, bytes string
	kind        byte
	resp3       bool
}{
	{"simple string", "+PONG\r\n", '+', false},
	{"empty simple string", "+\r\n", '+', false},
	{"OK", "+OK\r\n", '+', false},
	{"error", "-ERR no\r\n", '-', false},
	{"integer", ":17\r\n", ':', false},
	{"large integer", ":9223372036854775807\r\n", ':', false},
	{"small integer", ":-9223372036854775808\r\n", ':', false},
	{"integer with plus", ":+1\r\n", ':', false},
	{"bulk", "$5\r\na\r\nbc\r\n", '$', false},
	{"empty bulk", "$0\r\n\r\n", '$', false},
	{"null bulk", "$-1\r\n", '$', false},
	{"null array", "*-1\r\n", '*', false},
	{"empty array", "*0\r\n", '*', false},
	{"array", "*3\r\n$1\r\na\r\n:1\r\n+OK\r\n", '*', false},
	{"nested array", "*2\r\n*2\r\n*0\r\n*-1\r\n*1\r\n-ERR x\r\n", '*', false},
	{"array of nulls", "*2\r\n$-1\r\n$-1\r\n", '*', false},
	{"null", "_\r\n", '_', true},
	{"true", "#t\r\n", '#', true},
	{"false", "#f\r\n", '#', true},
	{"double", ",-1.5e+10\r\n", ',', true},
	{"infinity", ",-inf\r\n", ',', true},
	{"not a number", ",nan\r\n", ',', true},
	{"double with fraction", ",3.\r\n", ',', true},
	{"big number", "(-3492890328409238509324850943850943825024385\r\n", '(', true},
	{"bulk error", "!5\r\nERR x\r\n", '!', true},
	{"verbatim", "=7\r\ntxt:abc\r\n", '=', true},
	{"empty verbatim", "=4\r\nmkd:\r\n", '=', true},
	{"map", "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n", '%', true},
	{"empty map", "%0\r\n", '%', true},
	{"set", "~2\r\n+a\r\n#t\r\n", '~', true},
	{"push", ">3\r\n+message\r\n$1\r\nc\r\n$1\r\nm\r\n", '>', true},
	{"attribute", "|1\r\n+ttl\r\n:3600\r\n$1\r\na\r\n", '$', true},
	{"empty attribute", "|0\r\n+OK\r\n", '+', true},
	{"attribute inside", "*2\r\n|1\r\n+a\r\n%1\r\n+x\r\n+y\r\n:1\r\n:2\r\n", '*', true},
	{"attribute within attribute", "|1\r\n+a\r\n|1\r\n+b\r\n+c\r\n+d\r\n:1\r\n", ':', true},
	{"attribute before map", "|1\r\n+a\r\n+b\r\n%1\r\n+c\r\n+d\r\n", '%', true},
	{"streamed string", "$?\r\n;4\r\nHell\r\n;2\r\n\r\n\r\n;0\r\n", '$', true},
	{"empty streamed string", "$?\r\n;0\r\n", '$', true},
	{"streamed array", "*?\r\n:1\r\n*?\r\n.\r\n$?\r\n;1\r\na\r\n;0\r\n.\r\n", '*', true},
	{"streamed set", "~?\r\n.\r\n", '~', true},
	{"streamed map", "%?\r\n+a\r\n*1\r\n:1\r\n+b\r\n_\r\n.\r\n", '%', true},
	{"attribute inside streamed map", "%?\r\n|0\r\n+a\r\n|1\r\n+x\r\n+y\r\n+b\r\n.\r\n", '%', true},
}

func TestFramerFindsTheEndOfEveryType(t *testing.T) {
	var all []byte
	var want []frame
	for _, reply := range replies {
		t.Run(reply.name, func(t *testing.T) {
			b := []byte(reply.bytes)
			one := []frame{{reply.kind, reply.bytes}}
			check := func(how string, proto int, pieces ...[]byte) {
				t.Helper()
				got, rest, err := frames(t, proto, pieces...)
				if reply.resp3 && proto < 3 {
					if err == nil {
						t.Fatalf("%s: RESP2 takes it", how)
					}
					return
				}
				if diff := cmp.Diff(one, got); diff != "" || rest != "" || err != nil {
					t.Fatalf("%s: %v, rest %q\n%s", how, err, rest, diff)
				}
			}
			for _, proto := range []int{2, 3} {
				check("whole", proto, b)
				check("byte by byte", proto, single(b)...)
				for i := 1; i < len(b); i++ {
					check(fmt.Sprint("split at ", i), proto, b[:i], b[i:])
				}
			}
		})
		all = append(all, reply.bytes...)
		want = append(want, frame{reply.kind, reply.bytes})
	}
	for i := 1; i < len(all); i++ {
		got, rest, err := frames(t, 3, all[:i], all[i:])
		if !slices.Equal(want, got) || rest != "" || err != nil {
			t.Fatalf("coalesced, split at %d: %v, rest %q\n%s", i, err, rest, cmp.Diff(want, got))
		}
	}
}

func TestFramerRefusesWhatIsNotRESP(t *testing.T) {
	for name, stream := range map[string]string{
		"unknown type":                    "HTTP/1.1 200 OK\r\n",
		"empty line":                      "\r\n",
		"bare LF in a simple string":      "+a\nb",
		"bare CR in an error":             "-ERR a\rb",
		"error that ends in LF only":      "-ERR x\n",
		"bulk longer than announced":      "$3\r\nabcd",
		"bulk with LF only behind":        "$3\r\nabc\n",
		"bulk with CR and another behind": "$3\r\nabc\rx",
		"bulk length of -2":               "$-2\r\n",
		"bulk length of -0":               "$-0\r\n",
		"bulk length with leading zero":   "$01\r\n",
		"bulk length with plus":           "$+1\r\n",
		"empty bulk length":               "$\r\n",
		"bulk length above all reason":    "$1099511627777\r\n",
		"bulk length of 2^63-1":           "$9223372036854775807\r\n",
		"bulk length of 2^64+3":           "$18446744073709551619\r\n",
		"bulk length with letters":        "$1a\r\n",
		"bulk length with LF only":        "$1\n",
		"count of -2":                     "*-2\r\n",
		"count of 2^63-1":                 "*9223372036854775807\r\n",
		"negative map":                    "%-1\r\n",
		"map of 2^63-1 pairs":             "%9223372036854775807\r\n",
		"negative set":                    "~-1\r\n",
		"negative push":                   ">-1\r\n",
		"negative verbatim":               "=-1\r\n",
		"negative bulk error":             "!-1\r\n",
		"verbatim without room":           "=3\r\n",
		"verbatim without colon":          "=5\r\ntxtab\r\n",
		"integer without digits":          ":\r\n",
		"integer of a sign":               ":-\r\n",
		"integer with a letter":           ":1a\r\n",
		"integer overflow":                ":9223372036854775808\r\n",
		"integer underflow":               ":-9223372036854775809\r\n",
		"endless integer":                 ":" + strings.Repeat("1", 100),
		"null with a value":               "_x\r\n",
		"boolean of another letter":       "#x\r\n",
		"boolean of two":                  "#tt\r\n",
		"double without digits":           ",\r\n",
		"double of a dot":                 ",.\r\n",
		"double with two exponents":       ",1e1e1\r\n",
		"double with an empty exponent":   ",1e\r\n",
		"double with two signs":           ",1e+-1\r\n",
		"double word":                     ",infinity\r\n",
		"big number without digits":       "(\r\n",
		"big number of a sign":            "(-\r\n",
		"big number with a late sign":     "(1-\r\n",
		"big number with a letter":        "(12x\r\n",
		"endless simple string":           "+" + strings.Repeat("a", maxText+1),
		"endless error":                   "-" + strings.Repeat("a", maxText+1),
		"push inside an array":            "*1\r\n>1\r\n+a\r\n",
		"push inside a map":               "%1\r\n+a\r\n>1\r\n+a\r\n",
		"push behind an attribute":        "|1\r\n+a\r\n+b\r\n>1\r\n+a\r\n",
		"attribute behind an attribute":   "|1\r\n+a\r\n+b\r\n|1\r\n",
		"attribute without a value":       "*?\r\n|1\r\n+a\r\n+b\r\n.\r\n",
		"negative attribute":              "|-1\r\n",
		"streamed attribute":              "|?\r\n",
		"streamed push":                   ">?\r\n",
		"streamed bulk error":             "!?\r\n",
		"chunk of nothing":                ";1\r\na\r\n",
		"value within a streamed string":  "$?\r\n+a\r\n",
		"end within a streamed string":    "*?\r\n$?\r\n.\r\n",
		"negative chunk":                  "$?\r\n;-1\r\n",
		"end of nothing":                  ".\r\n",
		"end of a counted array":          "*1\r\n.\r\n",
		"end with a value":                "*?\r\n.x\r\n",
		"streamed map without a value":    "%?\r\n+a\r\n.\r\n",
		"chunk of a chunk":                "*1\r\n;1\r\n",
		"nested too deeply":               strings.Repeat("*1\r\n", MaxDepth+1),
		"streams nested too deeply":       strings.Repeat("*?\r\n", MaxDepth+1),
		"NUL in a length":                 "$\x00\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			for count, before := range []string{"", "+OK\r\n", "$3\r\nabc\r\n*1\r\n:1\r\n"} {
				b := []byte(before + stream)
				for _, pieces := range [][][]byte{{b}, single(b)} {
					got, _, err := frames(t, 3, pieces...)
					if err == nil {
						t.Fatalf("%.80q is taken", b)
					}
					if len(got) != count {
						t.Fatalf("%.80q: %d frames before the error", b, len(got))
					}
				}
			}
		})
	}
}

func TestFramerTakesTheDeepestAndTheLongest(t *testing.T) {
	for name, stream := range map[string]string{
		"depth":                 strings.Repeat("*1\r\n", MaxDepth) + ":1\r\n",
		"line":                  "-" + strings.Repeat("a", maxText) + "\r\n",
		"announced in a moment": "*1099511627776\r\n",
	} {
		got, rest, err := frames(t, 2, []byte(stream))
		if err != nil || len(got) == 0 && rest == "" {
			t.Errorf("%s: %d frames, %v", name, len(got), err)
		}
	}
}

// Redis's HELLO and pub/sub replies of RESP3 must not pass where a client
// speaks RESP2.
func TestFramerHoldsARESP2ConnectionToRESP2(t *testing.T) {
	for _, c := range "_#,(!=%~>|;." {
		for _, stream := range []string{string(c), "*1\r\n" + string(c)} {
			if _, _, err := frames(t, 2, []byte(stream)); err == nil {
				t.Errorf("%q is taken", stream)
			}
		}
	}
	for _, stream := range []string{"$?\r\n", "*?\r\n"} {
		if _, _, err := frames(t, 2, []byte(stream)); err == nil {
			t.Errorf("%q is taken", stream)
		}
	}
}

func TestFramerStreamsABigBulkAndTellsItsLength(t *testing.T) {
	var f Framer
	f.Reset(2)
	step := func(p string, n int, done bool, announced int64) {
		t.Helper()
		gotN, gotDone, err := f.Next([]byte(p))
		if gotN != n || gotDone != done || err != nil || f.Announced() != announced {
			t.Fatalf("%.20q: %d %v %v, announced %d", p, gotN, gotDone, err, f.Announced())
		}
	}
	step("$50000", 6, false, 0)
	step("00\r", 3, false, 0)
	step("\n", 1, false, 5_000_000)
	chunk := strings.Repeat("x", 50_000)
	for range 100 {
		step(chunk, len(chunk), false, 5_000_000)
	}
	step("\r", 1, false, 5_000_000)
	step("\n+OK\r\n", 1, true, 0)
	step("+OK\r\n", 5, true, 0)
}

func TestFramerTellsAnAttributesKindWhenItsValueComes(t *testing.T) {
	var f Framer
	f.Reset(3)
	for i, c := range []byte("|1\r\n+a\r\n+b\r\n$1\r\nx\r\n") {
		want := byte(0)
		if i >= 12 {
			want = '$'
		}
		if _, _, err := f.Next([]byte{c}); err != nil || f.Kind() != want {
			t.Fatalf("at %d: kind %q, %v", i, f.Kind(), err)
		}
	}
	if _, _, err := f.Next([]byte("+")); err != nil || f.Kind() != '+' {
		t.Fatalf("kind %q of the next frame, %v", f.Kind(), err)
	}
}

func TestFramerDoesNotAllocate(t *testing.T) {
	var all []byte
	for _, reply := range replies {
		all = append(all, reply.bytes...)
	}
	var f Framer
	f.Reset(3)
	if n := testing.AllocsPerRun(100, func() {
		for p := all; len(p) > 0; {
			n, _, err := f.Next(p)
			if err != nil {
				t.Fatal(err)
			}
			p = p[n:]
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestFramerAgreesWithASlowDecoder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	verdicts := map[verdict]int{}
	for range 60_000 {
		proto := 2 + rnd.IntN(2)
		b := randomReply(rnd, nil, proto, 3)
		if rnd.IntN(3) > 0 {
			b = mutate(rnd, b)
		}
		verdicts[compareWithDecoder(t, proto, b)]++
	}
	if verdicts[valid] < 10_000 || verdicts[invalid] < 10_000 || verdicts[unfinished] < 2_000 {
		t.Fatalf("lopsided: %v", verdicts)
	}
}

// compareWithDecoder shows one frame to both, to the Framer whole and byte by
// byte.
func compareWithDecoder(t testing.TB, proto int, b []byte) verdict {
	t.Helper()
	want, size := decode(b, proto)
	for _, pieces := range [][][]byte{{b}, single(b)} {
		var f Framer
		f.Reset(proto)
		n, done := 0, false
		var err error
		for _, p := range pieces {
			var k int
			if k, done, err = f.Next(p); done || err != nil {
				n += k
				break
			}
			n += k
		}
		switch {
		case want == valid && (!done || n != size || err != nil),
			want == invalid && err == nil,
			// A Framer may speak before the decoder, which needs the whole line.
			want == unfinished && done:
			t.Fatalf("RESP%d %q in %d pieces: framer %d %v %v, decoder %v %d", proto, b, len(pieces), n, done, err, want, size)
		}
	}
	return want
}

// randomReply appends a valid reply.
func randomReply(rnd *rand.Rand, b []byte, proto, depth int) []byte {
	kinds := 7
	if proto == 3 {
		kinds = 20
	}
	kind := rnd.IntN(kinds)
	if depth == 0 && (kind == 5 || kind == 6 || kind >= 14) {
		kind = 3
	}
	values := func(n int) {
		for range n {
			b = randomReply(rnd, b, proto, depth-1)
		}
	}
	n := rnd.IntN(4)
	text := bytes.Map(func(r rune) rune { return ' ' + r%90 }, []byte(randomBytes(rnd, n)))
	switch kind {
	case 0:
		return AppendSimple(b, string(text))
	case 1:
		return AppendError(b, "ERR "+string(text))
	case 2:
		return AppendInt(b, int64(rnd.Uint64())>>rnd.IntN(64))
	case 3:
		return AppendBulkString(b, randomBytes(rnd, rnd.IntN(30)))
	case 4:
		if n == 0 {
			return AppendNull(b, 2)
		}
		return AppendNullArray(b, 2)
	case 5, 6:
		b = AppendArray(b, n)
		values(n)
	case 7:
		return AppendNull(b, 3)
	case 8:
		return AppendBool(b, 3, n > 1)
	case 9:
		return AppendDouble(b, 3, rnd.NormFloat64()*float64(rnd.IntN(1000)))
	case 10:
		return fmt.Appendf(b, "(%d%d\r\n", int64(rnd.Uint64()), rnd.Uint64())
	case 11:
		return AppendVerbatim(b, 3, string(text))
	case 12:
		return fmt.Appendf(b, "!%d\r\n%s\r\n", len(text), text)
	case 13:
		b = append(b, "$?\r\n"...)
		for range n {
			b = fmt.Appendf(b, ";%d\r\n%s\r\n", len(text)+1, append(text, '\n'))
		}
		return append(b, ";0\r\n"...)
	case 14:
		b = AppendMap(b, 3, n)
		values(2 * n)
	case 15:
		b = AppendSet(b, 3, n)
		values(n)
	case 16:
		if depth < 3 {
			return AppendNull(b, 3)
		}
		b = AppendPush(b, 3, n)
		values(n)
	case 17:
		b = fmt.Appendf(b, "|%d\r\n", n)
		values(2 * n)
		b = append(b, ":1\r\n"...)
	case 18:
		b = append(b, "*?\r\n"...)
		values(n)
		b = append(b, ".\r\n"...)
	case 19:
		b = append(b, "%?\r\n"...)
		values(2 * n)
		b = append(b, ".\r\n"...)
	}
	return b
}

// mutate spoils some bytes, with those the protocol gives a meaning preferred.
func mutate(rnd *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	special := []byte("\r\n\r\n\x00*$+-:0123456789_#,(!=%~>|;.?\"'\\x \t")
	for range 1 + rnd.IntN(2) {
		if len(b) == 0 {
			return b
		}
		i := rnd.IntN(len(b))
		c := special[rnd.IntN(len(special))]
		switch rnd.IntN(6) {
		case 0:
			b[i] = c
		case 1:
			b[i] ^= 1 << rnd.IntN(8)
		case 2:
			b = append(b[:i], b[i+1:]...)
		case 3:
			b = append(b[:i], append([]byte{c}, b[i:]...)...)
		case 4:
			b = b[:i]
		case 5:
			j := i + rnd.IntN(len(b)-i)
			b = append(b[:j:j], b[i:]...)
		}
	}
	return b
}
