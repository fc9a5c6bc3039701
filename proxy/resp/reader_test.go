package resp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"weak"

	"github.com/google/go-cmp/cmp"
)

// reading is what became of a stream.
type reading struct {
	Commands [][]string
	Fault    string // text of the ProtocolError, if there was one
	Kind     Fault
	Partial  bool
}

// read feeds the pieces one after the other. Each is overwritten as soon as it
// is released, so that a Reader which kept a borrowed byte is found out.
func read(t testing.TB, l Limits, pieces ...[]byte) reading {
	t.Helper()
	var r Reader
	var list freeList
	r.Reset(l, &list)
	var got reading
	arrived := 0
	for _, piece := range pieces {
		p := bytes.Clone(piece)
		arrived += len(p)
		r.Feed(p)
		for {
			args, err := r.Next()
			if err != nil {
				got.note(t, err)
				if _, again := r.Next(); again != err {
					t.Fatalf("the error is not final: %v, then %v", err, again)
				}
				break
			}
			if args == nil {
				break
			}
			if len(args) == 0 {
				t.Fatal("a command without a name")
			}
			got.Commands = append(got.Commands, words(args))
		}
		got.Partial = r.Partial()
		r.Release()
		for i := range p {
			p[i] = 0xEE
		}
		if held := r.Buffered(); held > 64<<10+2*arrived {
			t.Fatalf("%d bytes held of %d that arrived", held, arrived)
		}
	}
	r.Reset(l, nil)
	if list.got != list.put {
		t.Fatalf("%d buffers taken, %d given back", list.got, list.put)
	}
	return got
}

func (g reading) equal(o reading) bool {
	return g.Fault == o.Fault && g.Kind == o.Kind && g.Partial == o.Partial &&
		slices.EqualFunc(g.Commands, o.Commands, slices.Equal)
}

func (g *reading) note(t testing.TB, err error) {
	t.Helper()
	var fault *ProtocolError
	if !errors.As(err, &fault) {
		t.Fatalf("error %T %v", err, err)
	}
	g.Fault, g.Kind = fault.Text, fault.Kind
}

func words(args [][]byte) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = string(a)
	}
	return out
}

// single cuts p into single bytes.
func single(p []byte) [][]byte { return slices.Collect(slices.Chunk(p, 1)) }

// readSplit reads the stream whole, byte by byte and at each single split, and
// fails unless all give the same.
func readSplit(t testing.TB, l Limits, stream []byte) reading {
	t.Helper()
	want := read(t, l, stream)
	try := func(how string, pieces ...[]byte) {
		t.Helper()
		if got := read(t, l, pieces...); !got.equal(want) {
			t.Fatalf("%.200q %s differs from whole (-whole):\n%s", stream, how, cmp.Diff(want, got))
		}
	}
	try("byte by byte", single(stream)...)
	step := max(1, len(stream)/400)
	for i := 1; i < len(stream); i += step {
		try(fmt.Sprintf("split at %d", i), stream[:i], stream[i:])
	}
	return want
}

// corpus holds streams of every kind, for split invariance and as fuzz seeds.
var corpus = []string{
	string(command("PING")),
	string(command("SET", "k", "v")),
	string(command("SET", "", "\r\n*1\r\n")),
	string(command("GET", "a")) + string(command("GET", "b")) + string(command("GET", "c")),
	string(command("AUTH", "user", strings.Repeat("t", 300))),
	string(command("MSET", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")),
	"*0\r\n*-1\r\n*-17\r\n\r\n\n   \r\n" + string(command("PING")),
	"PING\r\nECHO hello\nset \"a b\" 'c d'\r\n",
	"echo \"\\x41\\n\\r\\t\\b\\a\\q\\x4\\xg0\\\"\" 'it\\'s \\n'\r\n",
	"a\tb\r\nc\x0bd\r\n e \x0b\x0cf\r\r\n",
	"pre\"quoted\" x'y' \"\" ''\r\n",
	"\"a\"b\r\n", "'a\r\n", "\"a\\\r\n", "\"\\x00\"\r\n",
	"PI\x00NG\r\n", "PING\r\n\x00",
	"*1\r\n$4\r\nPINGxx", "*1\r\n$4\r\nPING\rx", "*1\rx$4\r\nPING\r\n", "*1\r\n$4\rxPING\r\n",
	"*1\n$4\nPING\n", "*1\r\n*1\r\n", "*1\r\n:1\r\n", "*2\r\n$4\r\nECHO\r\n\r\n",
	"*1\r\n$9223372036854775807\r\n", "*1\r\n$18446744073709551619\r\n", "*3000000000\r\n",
	"*-9223372036854775808\r\n*-9223372036854775809\r\n",
	"*1\r\n$\r\n", "*1\r\n$-0\r\n", "*1\r\n$0004\r\nPING\r\n", "*01\r\n", "*\r\n", "*-\r\n", "*+1\r\n", "*1 \r\n",
	"*1\r\n$-1\r\n", "*1\r\n$0\r\n\r\n", "*1a\r\n", "*--1\r\n",
	"*" + strings.Repeat("1", 30), "*1\r\n$" + strings.Repeat("1", 30),
	"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a b\r\n", "GET / HTTP/1.1\r\n", "hOST: x\r\n",
	"*1\r\n$4\r\nPOST\r\n", "*2\r\n$5\r\nHost:\r\n$1\r\nx\r\n",
	"\x16\x03\x01\x02\x00\x01\x00", "\x16\x02\r\n",
	strings.Repeat("*0\r\n", 100) + "PING\r\n" + strings.Repeat("\r\n", 100) + "PING\r\n" + strings.Repeat("\n", 101),
	"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\nunfin",
	"inline unfin",
}

func TestReaderGivesTheSameHoweverTheStreamIsSplit(t *testing.T) {
	all := ""
	for _, stream := range corpus {
		for _, l := range []Limits{BeforeLogin, afterLogin} {
			readSplit(t, l, []byte(stream))
		}
		if got := read(t, afterLogin, []byte(stream)); got.Fault == "" && !got.Partial {
			all += stream
		}
	}
	if got := readSplit(t, afterLogin, []byte(all)); got.Fault != "" || len(got.Commands) < 20 {
		t.Fatalf("coalesced: %d commands, %q", len(got.Commands), got.Fault)
	}
}

func TestReaderReadsBackWhatAppendCommandWrote(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var r Reader
	for round := range 3000 {
		var stream []byte
		var want [][]string
		for range 1 + rnd.IntN(5) {
			args := []string{"CMD"}
			for range rnd.IntN(12) {
				args = append(args, randomBytes(rnd, rnd.IntN(130)))
			}
			if rnd.IntN(50) == 0 {
				args = append(args, randomBytes(rnd, rnd.IntN(100_000)), "end")
			}
			want = append(want, args)
			stream = append(stream, command(args...)...)
		}
		r.Reset(afterLogin, nil)
		var again []byte
		n := 0
		for rest := stream; len(rest) > 0; {
			k := 1 + rnd.IntN(len(rest))
			r.Feed(rest[:k])
			rest = rest[k:]
			for {
				args, err := r.Next()
				if err != nil {
					t.Fatal(err)
				}
				if args == nil {
					break
				}
				if diff := cmp.Diff(want[n], words(args)); diff != "" {
					t.Fatalf("round %d: %s", round, diff)
				}
				n++
				again = AppendCommand(again, args)
			}
			r.Release()
		}
		if !bytes.Equal(again, stream) {
			t.Fatalf("round %d: canonical bytes changed", round)
		}
	}
}

func randomBytes(rnd *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return string(b)
}

// An owner that has had enough stops calling Next; what it left must come
// first, in order, after any number of turns, with or without new bytes.
func TestReaderKeepsCommandsItsOwnerDidNotTake(t *testing.T) {
	const total = 5000
	var stream []byte
	for i := range total {
		stream = append(stream, command("ECHO", fmt.Sprint(i))...)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	var list freeList
	var r Reader
	r.Reset(afterLogin, &list)
	next := 0
	for turn := 0; next < total; turn++ {
		k := 0
		if rnd.IntN(3) == 0 {
			k = min(len(stream), rnd.IntN(3000))
		}
		p := bytes.Clone(stream[:k])
		stream = stream[k:]
		r.Feed(p)
		for range rnd.IntN(20) {
			args, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if args == nil {
				break
			}
			if got := string(args[1]); got != fmt.Sprint(next) {
				t.Fatalf("turn %d: command %s, want %d", turn, got, next)
			}
			next++
		}
		r.Release()
		clear(p)
		if turn > 100*total {
			t.Fatalf("stuck at %d", next)
		}
	}
	if r.Release(); r.Buffered() != 0 || list.got != list.put {
		t.Fatalf("%d bytes held at the end, %d buffers taken, %d given back", r.Buffered(), list.got, list.put)
	}
}

func TestReaderTakesAFeedWithoutReleaseBeforeIt(t *testing.T) {
	var r Reader
	r.Reset(afterLogin, nil)
	stream := append(command("ECHO", "one"), command("ECHO", "two")...)
	for _, b := range single(stream) {
		r.Feed(b)
	}
	for _, want := range []string{"one", "two"} {
		args, err := r.Next()
		if err != nil || len(args) != 2 || string(args[1]) != want {
			t.Fatalf("%q %v", args, err)
		}
	}
	if args, err := r.Next(); args != nil || err != nil {
		t.Fatalf("%q %v", args, err)
	}
}

func TestReaderChangesLimitsFromTheNextCommandOn(t *testing.T) {
	tight := afterLogin
	tight.Bulk = 4
	t.Run("a command begun keeps the old ones", func(t *testing.T) {
		var r Reader
		r.Reset(afterLogin, nil)
		one := command("ECHO", "longer than four")
		r.Feed(one[:8])
		if args, err := r.Next(); args != nil || err != nil {
			t.Fatalf("%q %v", args, err)
		}
		r.SetLimits(tight)
		r.Release()
		r.Feed(append(one[8:], one...))
		if args, err := r.Next(); err != nil || len(args) != 2 {
			t.Fatalf("%q %v", args, err)
		}
		if _, err := r.Next(); err != errBulk {
			t.Fatalf("the command behind it: %v", err)
		}
	})
	t.Run("a command waiting behind a login has the new ones", func(t *testing.T) {
		var r Reader
		r.Reset(BeforeLogin, nil)
		big := strings.Repeat("x", 20<<10)
		r.Feed(append(command("AUTH", "pw"), command("SET", "k", big)...))
		if args, err := r.Next(); err != nil || string(args[0]) != "AUTH" {
			t.Fatalf("%q %v", args, err)
		}
		r.Release()
		r.SetLimits(afterLogin)
		if args, err := r.Next(); err != nil || len(args) != 3 || string(args[2]) != big {
			t.Fatalf("%.80q %v", args, err)
		}
	})
}

func TestReaderSaysWhetherACommandIsPartial(t *testing.T) {
	var r Reader
	r.Reset(afterLogin, nil)
	for _, step := range []struct {
		feed    string
		command bool
		partial bool
	}{
		{"", false, false},
		{"*", false, true},
		{"1\r\n$4\r\nPI", false, true},
		{"NG\r\n", true, false},
		{"*0\r\n\r\n", false, false},
		{"inl", false, true},
		{"ine\r\n", true, false},
	} {
		r.Feed([]byte(step.feed))
		args, err := r.Next()
		if err != nil || (args != nil) != step.command {
			t.Fatalf("%q: %q %v", step.feed, args, err)
		}
		if args != nil {
			if args, err = r.Next(); args != nil || err != nil {
				t.Fatalf("%q: %q %v", step.feed, args, err)
			}
		}
		if r.Partial() != step.partial {
			t.Fatalf("%q: partial %v", step.feed, r.Partial())
		}
		r.Release()
	}
}

func TestReaderReadsWithoutAllocating(t *testing.T) {
	stream := bytes.Repeat(command("SET", "key", "value"), 10)
	stream = append(stream, "PING\r\n"...)
	var r Reader
	r.Reset(afterLogin, nil)
	n := testing.AllocsPerRun(100, func() {
		r.Feed(stream)
		for range 11 {
			if args, _ := r.Next(); args == nil {
				t.Fatal("a command is missing")
			}
		}
		r.Release()
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestReaderHoldsNothingWhenIdle(t *testing.T) {
	var list freeList
	var r Reader
	r.Reset(afterLogin, &list)
	long := make([]string, 1000)
	stream := command(append(long, "\"")...)
	stream = append(stream, "echo \"quoted\"\r\n"...)
	r.Feed(stream[:3000])
	for args, _ := r.Next(); args != nil; args, _ = r.Next() {
	}
	r.Release()
	if r.Buffered() == 0 || r.Buffered() > 6000 {
		t.Fatalf("%d bytes for 3000 of an unfinished command", r.Buffered())
	}
	r.Feed(stream[3000:])
	n := 0
	for args, err := r.Next(); args != nil || err != nil; args, err = r.Next() {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	r.Release()
	if n != 2 || r.Buffered() != 0 || list.got != list.put {
		t.Fatalf("%d commands, %d bytes held, %d buffers taken, %d given back", n, r.Buffered(), list.got, list.put)
	}
}

// A session is idle most of its life; what the loop lent it must not stay alive
// through arguments nobody looks at any more.
func TestReaderForgetsReleasedBytes(t *testing.T) {
	for name, args := range map[string]int{"few": 3, "many": 30} {
		var r Reader
		r.Reset(afterLogin, nil)
		released := func() weak.Pointer[byte] {
			p := command(make([]string, args)...)
			r.Feed(p)
			if got, err := r.Next(); len(got) != args {
				t.Fatal(err)
			}
			r.Release()
			return weak.Make(&p[0])
		}()
		runtime.GC()
		if released.Value() != nil {
			t.Errorf("%s arguments keep the bytes they lay in", name)
		}
		runtime.KeepAlive(&r)
	}
}

// A client that sent a big command and then the beginning of a small one must
// not be charged for the big one for ever.
func TestReaderShrinksAfterABigCommand(t *testing.T) {
	var r Reader
	r.Reset(afterLogin, nil)
	big := command("SET", "k", strings.Repeat("v", 1<<20))
	r.Feed(big[:1<<19])
	if args, err := r.Next(); args != nil || err != nil {
		t.Fatal(err)
	}
	r.Release()
	r.Feed(append(big[1<<19:], "*1\r\n$4\r\nPI"...))
	if args, err := r.Next(); len(args) != 3 {
		t.Fatal(err)
	}
	if args, err := r.Next(); args != nil || err != nil {
		t.Fatal(err)
	}
	r.Release()
	if r.Buffered() > 1024 {
		t.Fatalf("%d bytes held for eleven", r.Buffered())
	}
}
