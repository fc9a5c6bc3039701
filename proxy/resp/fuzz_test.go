package resp

import (
	"bytes"
	"runtime"
	"testing"
)

// fuzzLimits are those of a logged-in client, with the number of arguments low
// enough that their 24 bytes each stay below the 64 KiB that any input may cost.
var fuzzLimits = Limits{Args: 1024, Bulk: 1 << 20, Inline: 64 << 10, Request: 2 << 20}

// allocated runs f and returns the bytes it allocated.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// checkAllocations lets the Reader or Framer read b whole and holds it to the
// bound. A second try forgives what the rest of the process allocates.
func checkAllocations(t *testing.T, b []byte, f func()) {
	t.Helper()
	bound := uint64(64<<10 + 2*len(b))
	var cost uint64
	for range 3 {
		if cost = allocated(f); cost <= bound {
			return
		}
	}
	t.Fatalf("%d bytes allocated for %d of input", cost, len(b))
}

func FuzzReader(f *testing.F) {
	for i, stream := range corpus {
		f.Add([]byte(stream), uint16(i*7), i%3 == 0)
	}
	f.Fuzz(func(t *testing.T, stream []byte, cut uint16, login bool) {
		l := fuzzLimits
		if login {
			l = BeforeLogin
		}
		whole := read(t, l, stream)
		for _, args := range whole.Commands {
			checkCommand(t, l, args)
		}
		at := int(cut) % (len(stream) + 1)
		pieces := [][][]byte{{stream[:at], stream[at:]}}
		if len(stream) < 4096 {
			pieces = append(pieces, single(stream))
		}
		for _, p := range pieces {
			if got := read(t, l, p...); !got.equal(whole) {
				t.Fatalf("%q in %d pieces, first of %d: %+v, whole %+v", stream, len(p), at, got, whole)
			}
		}
		checkAllocations(t, stream, func() {
			var r Reader
			r.Reset(l, nil)
			r.Feed(stream)
			for args, _ := r.Next(); args != nil; args, _ = r.Next() {
			}
			r.Release()
		})
	})
}

// checkCommand holds a command to the limits and to being read back from its
// canonical form unchanged.
func checkCommand(t *testing.T, l Limits, args []string) {
	t.Helper()
	if len(args) > l.Args {
		t.Fatalf("%d arguments", len(args))
	}
	for _, a := range args {
		if len(a) > max(l.Bulk, l.AuthBulk) {
			t.Fatalf("argument of %d bytes", len(a))
		}
	}
	canonical := command(args...)
	again := read(t, fuzzLimits, canonical)
	if len(again.Commands) == 1 {
		if !bytes.Equal(command(again.Commands[0]...), canonical) {
			t.Fatalf("%q reads back as %q", args, again.Commands[0])
		}
		return
	}
	// An inline command may bear the name at which an array closes.
	if again.Kind != CrossProtocol {
		t.Fatalf("%q reads back as %+v", args, again)
	}
}

func FuzzInline(f *testing.F) {
	for _, line := range []string{
		"ping", "set a \"b c\" 'd'", "\"\\x41\\n\\q\"", "'it\\'s'", "a\tb\x0bc \x0c d", "\"a\"b", "'", "\"\\", "x\"y", "\"\"''", "\x16\x03", "get / http/1.1",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if len(line) > 0 && line[0] == '*' || bytes.IndexByte(line, '\n') >= 0 {
			return
		}
		stream := append(bytes.Clone(line), '\n')
		got := read(t, fuzzLimits, stream)
		if same := read(t, fuzzLimits, single(stream)...); !same.equal(got) {
			t.Fatalf("%q byte by byte: %+v, whole %+v", line, same, got)
		}
		want, balanced := slowSplit(line)
		switch {
		case got.Kind == CrossProtocol, got.Fault == errInlineNUL.Text, got.Fault == errInline.Text:
		case got.Fault == errCount.Text && len(want) > fuzzLimits.Args:
		case got.Fault == errQuotes.Text && !balanced:
		case got.Fault != "" || !balanced:
			t.Fatalf("%q: %q, balanced %v", line, got.Fault, balanced)
		case len(want) == 0 && len(got.Commands) == 0:
		case len(got.Commands) != 1 || !bytes.Equal(command(want...), command(got.Commands[0]...)):
			t.Fatalf("%q: %q, want %q", line, got.Commands, want)
		}
	})
}

// slowSplit says again, as a table of states, how Redis splits a line.
func slowSplit(line []byte) (args []string, balanced bool) {
	const (
		between = iota
		plain
		double
		single
		closed
	)
	state := between
	var word []byte
	for i := 0; i <= len(line); i++ {
		c := byte(' ')
		if i < len(line) {
			c = line[i]
		} else if state == double || state == single {
			return nil, false
		}
		rest := line[min(i+1, len(line)):]
		blank := bytes.IndexByte([]byte(" \t\n\v\f\r"), c) >= 0
		switch state {
		case closed:
			if !blank {
				return nil, false
			}
			args, word, state = append(args, string(word)), nil, between
		case between:
			if !blank {
				state = plain
				i--
			}
		case plain:
			switch c {
			case ' ', '\t', '\r':
				args, word, state = append(args, string(word)), nil, between
			case '"':
				state = double
			case '\'':
				state = single
			default:
				word = append(word, c)
			}
		case double:
			switch {
			case c == '"':
				state = closed
			case c == '\\' && len(rest) >= 3 && rest[0] == 'x' && isHex(rest[1]) && isHex(rest[2]):
				word = append(word, hexValue(rest[1])*16+hexValue(rest[2]))
				i += 3
			case c == '\\' && len(rest) > 0:
				if at := bytes.IndexByte([]byte("nrtba"), rest[0]); at >= 0 {
					word = append(word, "\n\r\t\b\a"[at])
				} else {
					word = append(word, rest[0])
				}
				i++
			default:
				word = append(word, c)
			}
		case single:
			switch {
			case c == '\'':
				state = closed
			case c == '\\' && len(rest) > 0 && rest[0] == '\'':
				word = append(word, '\'')
				i++
			default:
				word = append(word, c)
			}
		}
	}
	return args, true
}

func isHex(c byte) bool { return bytes.IndexByte([]byte("0123456789abcdefABCDEF"), c) >= 0 }

func hexValue(c byte) byte {
	return byte(bytes.IndexByte([]byte("0123456789abcdef"), bytes.ToLower([]byte{c})[0]))
}

func FuzzFramer(f *testing.F) {
	for i, reply := range replies {
		f.Add([]byte(reply.bytes), uint16(i), i%2 == 0)
	}
	f.Add([]byte("$9223372036854775807\r\n"), uint16(3), true)
	f.Add(bytes.Repeat([]byte("*1\r\n"), MaxDepth+1), uint16(9), false)
	f.Fuzz(func(t *testing.T, stream []byte, cut uint16, resp3 bool) {
		proto := 2
		if resp3 {
			proto = 3
		}
		compareWithDecoder(t, proto, stream)
		whole, rest, err := frames(t, proto, stream)
		at := int(cut) % (len(stream) + 1)
		for _, pieces := range [][][]byte{{stream[:at], stream[at:]}, single(stream)} {
			got, gotRest, gotErr := frames(t, proto, pieces...)
			if len(got) != len(whole) || (err == nil) != (gotErr == nil) || err == nil && rest != gotRest {
				t.Fatalf("RESP%d %q cut at %d: %q %v, whole %q %v", proto, stream, at, got, gotErr, whole, err)
			}
			for i := range got {
				if got[i] != whole[i] {
					t.Fatalf("RESP%d %q cut at %d: %q, whole %q", proto, stream, at, got[i], whole[i])
				}
			}
		}
		checkAllocations(t, nil, func() {
			var f Framer
			f.Reset(proto)
			for p := stream; len(p) > 0; {
				n, _, err := f.Next(p)
				if err != nil {
					return
				}
				p = p[n:]
			}
		})
	})
}
