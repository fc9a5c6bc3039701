package resp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

var largeLimits = Limits{Args: 1024, Bulk: 1 << 20, Inline: 64 << 10, Request: 2 << 20, Held: 1000, Stream: 100}

// told is what a Reader said of a stream: each command as one line, with the way
// it came.
func told(l Limits, keep bool, pieces ...[]byte) []string {
	var r Reader
	r.Reset(l, nil)
	var said []string
	var head string
	var poured []byte
	pouring := false
	for _, p := range pieces {
		r.Feed(bytes.Clone(p))
	feeding:
		for {
			if pouring {
				b, done, err := r.Pour()
				poured = append(poured, b...)
				switch {
				case err != nil:
					return append(said, "error "+err.Error())
				case done:
					said = append(said, fmt.Sprintf("poured %s %q", head, poured))
					pouring, poured = false, nil
				case len(b) == 0:
					break feeding
				}
				continue
			}
			args, err := r.Next()
			if err != nil {
				return append(said, "error "+err.Error())
			}
			if args != nil {
				said = append(said, fmt.Sprintf("whole %q", args))
				continue
			}
			args, n := r.Large()
			switch {
			case args == nil:
				break feeding
			case keep:
				r.Keep()
			default:
				head, pouring = fmt.Sprintf("%q %d", args, n), true
			}
		}
		r.Release()
	}
	if r.Partial() {
		said = append(said, "partial")
	}
	return said
}

func request(args ...string) []byte {
	var b [][]byte
	for _, a := range args {
		b = append(b, []byte(a))
	}
	return AppendCommand(nil, b)
}

func TestALargeLastArgumentIsLeftToTheOwner(t *testing.T) {
	big, huge := strings.Repeat("b", 100), strings.Repeat("h", 5000)
	stream := bytes.Join([][]byte{
		request("PING"), request("SET", "k", big), request("SET", "k", huge), request("SET", "k", big, "NX"), request("GET", "k"), request("ECHO", big),
	}, nil)
	want := []string{
		`whole ["PING"]`, fmt.Sprintf(`poured ["SET" "k"] 100 %q`, big), fmt.Sprintf(`poured ["SET" "k"] 5000 %q`, huge),
		fmt.Sprintf(`whole ["SET" "k" %q "NX"]`, big), `whole ["GET" "k"]`, fmt.Sprintf(`poured ["ECHO"] 100 %q`, big),
	}
	for at := range len(stream) {
		if got := told(largeLimits, false, stream[:at], stream[at:]); !equal(got, want) {
			t.Fatalf("cut at %d: %.400q", at, fmt.Sprint(got))
		}
	}
	if got := told(largeLimits, false, single(stream)...); !equal(got, want) {
		t.Fatalf("byte by byte: %.400q", fmt.Sprint(got))
	}
}

func TestWhatIsKeptIsHeldToTheLimitOfThat(t *testing.T) {
	big, huge := strings.Repeat("b", 900), strings.Repeat("h", 1000)
	for _, c := range []struct {
		stream []byte
		want   string
	}{
		{request("SET", "k", big), fmt.Sprintf(`whole ["SET" "k" %q]`, big)},
		{request("SET", "k", huge), "error request too large to be held"},
		{request("SET", "k", huge, "NX"), "error request too large to be held"},
		{request("DEL", big, big, "k"), "error request too large to be held"},
		{request(huge), "error request too large to be held"},
	} {
		for _, pieces := range [][][]byte{{c.stream}, single(c.stream), {c.stream[:20], c.stream[20:]}} {
			if got := told(largeLimits, true, pieces...); len(got) != 1 || got[0] != c.want {
				t.Errorf("%.40q: %.200q", c.stream, fmt.Sprint(got))
			}
		}
	}
}

func TestAPouredArgumentMustEndWhereItSaid(t *testing.T) {
	stream := request("SET", "k", strings.Repeat("b", 200))
	for _, end := range []string{"xx", "\rx", "x\n", "\n\r"} {
		bad := append(stream[:len(stream)-2:len(stream)-2], end...)
		for _, pieces := range [][][]byte{{bad}, single(bad)} {
			if got := told(largeLimits, false, pieces...); len(got) != 1 || got[0] != "error Protocol error: expected CR LF after bulk" {
				t.Errorf("%q: %.200q", end, fmt.Sprint(got))
			}
		}
	}
	if got := told(largeLimits, false, stream[:len(stream)-1]); !equal(got, []string{"partial"}) {
		t.Errorf("without its last byte: %q", got)
	}
}

// What is poured is not held: a Reader keeps what one Feed left over, at most.
func TestPouringHoldsNothing(t *testing.T) {
	l := Limits{Args: 1024, Bulk: 512 << 20, Inline: 64 << 10, Request: 513 << 20, Held: 64 << 20, Stream: 1 << 20}
	var r Reader
	r.Reset(l, nil)
	r.Feed([]byte("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n"))
	if args, err := r.Next(); args != nil || err != nil {
		t.Fatal(args, err)
	}
	if _, n := r.Large(); n != 512<<20 {
		t.Fatalf("%d bytes are announced", n)
	}
	r.Pour()
	r.Release()
	piece := make([]byte, 64<<10)
	for sum := 0; sum < 512<<20; {
		r.Feed(piece)
		p, done, err := r.Pour()
		if len(p) == 0 || done || err != nil {
			t.Fatalf("%d bytes, done %v, %v after %d", len(p), done, err, sum)
		}
		sum += len(p)
		r.Release()
		if r.Buffered() > 4096 {
			t.Fatalf("%d bytes are held", r.Buffered())
		}
	}
	r.Feed([]byte("\r\n*1\r\n$4\r\nPING\r\n"))
	if _, done, err := r.Pour(); !done || err != nil {
		t.Fatal(done, err)
	}
	if args, err := r.Next(); err != nil || len(args) != 1 || string(args[0]) != "PING" {
		t.Fatal(args, err)
	}
	if r.Size() != 14 {
		t.Errorf("PING has %d bytes", r.Size())
	}
}

// FuzzLarge holds pouring and keeping against holding everything: the same
// commands come, or the same fault, however the bytes are cut.
func FuzzLarge(f *testing.F) {
	for i, stream := range corpus {
		f.Add([]byte(stream), uint16(i*5))
	}
	f.Add(request("SET", "k", strings.Repeat("b", 30)), uint16(40))
	f.Add(bytes.Join([][]byte{request("SET", "k", strings.Repeat("b", 8)), request("GET", "k")}, nil), uint16(33))
	f.Fuzz(func(t *testing.T, stream []byte, cut uint16) {
		plain := Limits{Args: 1024, Bulk: 1 << 16, Inline: 4 << 10, Request: 1 << 17}
		offering := plain
		offering.Stream = 8
		at := int(cut) % (len(stream) + 1)
		want := told(plain, true, stream)
		for _, keep := range []bool{true, false} {
			for _, pieces := range [][][]byte{{stream}, {stream[:at], stream[at:]}} {
				got := told(offering, keep, pieces...)
				for i := range got {
					got[i] = asWhole(got[i])
				}
				// Pouring finds a fault of the last line end, and HTTP in a name, as late as holding does.
				if !equal(got, want) {
					t.Fatalf("%q cut at %d, keep %v: %q, not %q", stream, at, keep, got, want)
				}
			}
		}
	})
}

// asWhole makes what was said of a poured command what is said of a whole one.
func asWhole(said string) string {
	rest, ok := strings.CutPrefix(said, "poured ")
	if !ok {
		return said
	}
	var i int
	for quoted := false; ; i++ { // the end of the list, outside any quotes
		switch {
		case rest[i] == '\\' && quoted:
			i++
		case rest[i] == '"':
			quoted = !quoted
		case rest[i] == ']' && !quoted:
			value := rest[i+2:]
			return "whole " + rest[:i] + " " + value[strings.IndexByte(value, ' ')+1:] + "]"
		}
	}
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
