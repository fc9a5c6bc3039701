package command

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// split makes a request of a line: words are separated by blanks, "" is the empty argument.
func split(line string) [][]byte {
	var args [][]byte
	for w := range strings.FieldsSeq(line) {
		if w == `""` {
			w = ""
		}
		args = append(args, []byte(strings.ReplaceAll(w, `\0`, "\x00")))
	}
	return args
}

// shown writes a call's keys as "a:r b:w c:rw d:", its channels as "#c" or, for a pattern, "*c".
func shown(c *Call) string {
	var words []string
	for _, k := range c.Keys {
		words = append(words, string(c.Args[k.Arg])+":"+[]string{"", "r", "w", "rw"}[k.Access])
	}
	for _, ch := range c.Channels {
		words = append(words, map[bool]string{false: "#", true: "*"}[ch.Pattern]+string(c.Args[ch.Arg]))
	}
	return strings.Join(words, " ")
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		line  string
		want  string // keys and channels, or the fault
		class Class
	}{
		// Names.
		{`nosuch a`, "unknown command", Refused},
		{`GET\0x a`, "unknown command", Refused},
		{`"" a`, "unknown command", Refused},
		{`config|get a`, "unknown command", Refused},
		{`config nosuch`, "unknown subcommand", Refused},
		{`config get\0 a`, "unknown subcommand", Refused},
		{`config ""`, "unknown subcommand", Refused},
		{`config`, "wrong number of arguments", Refused},
		{`config get`, "wrong number of arguments", Refused},
		{`CoNfIg GeT a`, "", Shared},
		{`command`, "", Local},
		{`get`, "wrong number of arguments", Refused},
		{`get a b`, "wrong number of arguments", Refused},

		// Places.
		{`gEt a`, "a:r", Shared},
		{`exists a b`, "a: b:", Shared},
		{`mset a 1 b 2`, "a:w b:w", Shared},
		{`mset a 1 b`, "a:w b:w", Shared},
		{`copy a b`, "a:r b:w", Shared},
		{`blpop a b 0`, "a:rw b:rw", Pinned},
		{`bitop and d a b`, "d:w a:r b:r", Shared},
		{`object encoding a`, "a:", Shared},
		{`memory usage a samples 0`, "a:", Shared},
		{`xgroup create s g $`, "s:w", Shared},
		{`pfmerge d`, "d:rw", Shared},
		{`pfmerge d a`, "d:rw a:r", Shared},
		{`keys *`, "", Shared},

		// Counts.
		{`eval s 0 a`, "", Shared},
		{`eval s 1 a b`, "a:rw", Shared},
		{`eval s 2 a`, "keys cannot be determined", Refused},
		{`eval s -1 a`, "keys cannot be determined", Refused},
		{`eval s +1 a`, "keys cannot be determined", Refused},
		{`eval s 01 a`, "keys cannot be determined", Refused},
		{`eval s "" a`, "keys cannot be determined", Refused},
		{`eval s 1\0 a`, "keys cannot be determined", Refused},
		{`eval s 18446744073709551617 a`, "keys cannot be determined", Refused},
		{`zunionstore d 2 a b weights 1 2`, "d:w a:r b:r", Shared},
		{`zunionstore d 0 a`, "keys cannot be determined", Refused},
		{`zunion 0 a`, "keys cannot be determined", Refused},
		{`msetex 2 a 1 b 2 ex 5`, "a:w b:w", Shared},
		{`msetex 2 a 1`, "keys cannot be determined", Refused},
		{`bzmpop 0 2 a b min`, "a:rw b:rw", Pinned},

		// Options.
		{`set a get`, "a:w", Shared},
		{`set a v get`, "a:rw", Shared},
		{`set a v ex get`, "a:rw", Shared},
		{`set a v ifeq x\0y`, "a:rw", Shared},
		{`set a v get\0`, "keys cannot be determined", Refused},
		{`delex a`, "a:w", Shared},
		{`delex a ifeq v`, "a:rw", Shared},
		{`bitfield a`, "a:r", Shared},
		{`bitfield a get u8 0 overflow sat`, "a:r", Shared},
		{`bitfield a get u8 0 set u8 0 1`, "a:rw", Shared},
		{`bitfield a get u8`, "a:rw", Shared},
		{`bitfield a get\0 u8 0`, "keys cannot be determined", Refused},
		{`sort a store b by store store c`, "a:r b:w c:w", Shared},
		{`sort a by store get store limit store store`, "a:r", Shared},
		{`sort a store`, "keys cannot be determined", Refused},
		{`sort a nosuch`, "keys cannot be determined", Refused},
		{`sort a store\0x b`, "keys cannot be determined", Refused},
		{`sort_ro a by x get y`, "a:r", Shared},
		{`sort_ro a store b`, "keys cannot be determined", Refused},
		{`georadius a 0 0 1 m store b storedist c store d`, "a:r b:w c:w d:w", Shared},
		{`georadius a 0 0 1 m count store`, "a:r", Shared},
		{`georadius a store b 1 m`, "a:r", Shared},
		{`georadius a 0 0 1 m store\0x b`, "keys cannot be determined", Refused},
		{`georadius a 0 0 1 m store`, "keys cannot be determined", Refused},
		{`georadiusbymember a store 1 m store b`, "a:r b:w", Shared},
		{`xread streams a b 0 0`, "a:r b:r", Shared},
		{`xread count 5 streams a 0`, "a:r", Shared},
		{`xread bLoCk 0 streams a 0`, "a:r", Pinned},
		{`xread count block streams a 0`, "a:r", Shared},
		{`xread count streams streams a 0`, "a:r", Shared},
		{`xread streams block 0`, "block:r", Shared},
		{`xread streams a b 0`, "keys cannot be determined", Refused},
		{`xread count 5 nothing`, "keys cannot be determined", Refused},
		{`xread block\0 5 streams a 0`, "keys cannot be determined", Refused},
		{`xread group g c streams a 0`, "keys cannot be determined", Refused},
		{`xreadgroup group streams streams noack claim 5 streams a >`, "a:r", Shared},
		{`xreadgroup group block block count 1 streams a >`, "a:r", Shared},
		{`xreadgroup group g c block 5 streams a >`, "a:r", Pinned},
		{`migrate h 1 a 0 1`, "a:rw", Pinned},
		{`migrate h 1 "" 0 1 copy auth keys keys a b`, "a:rw b:rw", Pinned},
		{`migrate h 1 "" 0 1 auth2 keys keys keys a`, "a:rw", Pinned},
		{`migrate h 1 a 0 1 keys b`, "keys cannot be determined", Refused},
		{`migrate h 1 "" 0 1 keys`, "keys cannot be determined", Refused},
		{`migrate h 1 "" 0 1 keys\0 a`, "keys cannot be determined", Refused},

		// Modules: more keys than declared, and more than nothing asked for them.
		{`json.mget a b $.x`, "a:r b:r", Shared},
		{`json.set a $ 1`, "a:rw", Shared},
		{`json.get a`, "a:r", Shared},
		{`json.mset a $ 1 b $ 2`, "a:rw b:rw", Shared},
		{`cms.merge d 2 a b weights 1 2`, "d:rw a:r b:r", Shared},
		{`cms.merge d 3 a b`, "keys cannot be determined", Refused},
		{`bf.add`, "wrong number of arguments", Refused},
		{`ft.add idx`, "keys cannot be determined", Refused},
		{`tdigest.merge d 1 a override`, "d:rw a:r", Shared},
		{`json.debug memory a`, "a:r", Pinned},

		// Channels.
		{`subscribe a b`, "#a #b", Pinned},
		{`psubscribe a* b`, "*a* *b", Pinned},
		{`ssubscribe a`, "#a", Pinned},
		{`publish a keys`, "#a", Shared},
		{`spublish a m`, "#a", Shared},
		{`unsubscribe a`, "", Pinned},

		// Never to a backend.
		{`sync`, "", Refused},
		{`replconf ack 1`, "", Refused},
		{`client kill 1`, "", Local},
	} {
		t.Run(test.line, func(t *testing.T) {
			var c Call
			err := Newest().Parse(split(test.line), &c)
			got := shown(&c)
			if err != nil {
				got = err.Error()
			}
			if got != test.want || c.Class != test.class {
				t.Errorf("have %q, %s; want %q, %s", got, c.Class, test.want, test.class)
			}
		})
	}
}

func TestParseSaysWhatItUnderstood(t *testing.T) {
	for line, want := range map[string]string{"nosuch": "", "config": "config", "config nosuch": "config",
		"config get": "config|get", "get": "get", "eval s 9 a": "eval"} {
		var c Call
		if err := Newest().Parse(split(line), &c); err == nil {
			t.Errorf("%s: no fault", line)
		}
		got := ""
		if c.Spec != nil {
			got = c.Spec.Name
		}
		if got != want {
			t.Errorf("%s: Spec is %q, want %q", line, got, want)
		}
	}
	if err := Newest().Parse(nil, new(Call)); err != Unknown {
		t.Errorf("no arguments: %v", err)
	}
}

func TestSortPatterns(t *testing.T) {
	for line, want := range map[string]int32{
		"sort a": 0, "sort a by nosort": 0, "sort a by w_*": 2, "sort a get #": 2, "sort a by nosort get x": 4,
		"sort a limit 0 1 by * get x": 5, "sort_ro a get x by *": 2, "sort a by get by *": 4, "get by": 0,
	} {
		var c Call
		if err := Newest().Parse(split(line), &c); err != nil || c.PatternArg != want {
			t.Errorf("%s: PatternArg is %d, want %d (%v)", line, c.PatternArg, want, err)
		}
	}
}

func TestJSONDebugWhereItIsOneCommand(t *testing.T) {
	// Valkey's subcommands are in the newest table; Redis alone has the one command.
	f := newKeyFinder("json.debug", FlagModule, []keySpec{{begin: beginKeyword, keyword: "MEMORY", pos: 1, find: findRange, step: 1}})
	for line, want := range map[string]string{"json.debug memory a": "a:r", "json.debug HELP x": "", "json.debug memory": "no", "json.debug other a": "no"} {
		c := Call{Args: split(line)}
		got := "no"
		if f.find(&c) {
			got = shown(&c)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func TestUnsoundSpecificationsFindNothing(t *testing.T) {
	sound := keySpec{begin: beginIndex, pos: 1, find: findRange, step: 1}
	for name, spoil := range map[string]func(k *keySpec){
		"unknown beginning": func(k *keySpec) { k.begin = beginUnknown },
		"keyword":           func(k *keySpec) { k.begin = beginKeyword },
		"unknown search":    func(k *keySpec) { k.find = findUnknown },
		"incomplete":        func(k *keySpec) { k.flags = specIncomplete },
		"variable":          func(k *keySpec) { k.flags = specVariable },
		"no step":           func(k *keySpec) { k.step = 0 },
		"place 0":           func(k *keySpec) { k.pos = 0 },
		"count as key":      func(k *keySpec) { k.find = findKeynum },
	} {
		t.Run(name, func(t *testing.T) {
			k := sound
			spoil(&k)
			f := newKeyFinder("some", 0, []keySpec{sound, k})
			if c := (&Call{Args: split("some a b")}); f.method != noWay || f.find(c) {
				t.Errorf("keys are found: %v", c.Keys)
			}
		})
	}
}

func TestCount(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "1": 1, "10": 10, "1048576": 1048576} {
		if n, ok := count([]byte(text), 1<<20); n != want || !ok {
			t.Errorf("%q: %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{"", "00", "01", "-1", "-0", "+1", " 1", "1 ", "1\x00", "1a", "a", "\xff",
		"1048577", "9223372036854775807", "9223372036854775808", "18446744073709551616", "18446744073709551617",
		strconv.Itoa(math.MaxInt), strings.Repeat("9", 100000)} {
		if n, ok := count([]byte(text), 1<<20); ok {
			t.Errorf("%.30q is taken for %d", text, n)
		}
	}
}

func TestAMillionArguments(t *testing.T) {
	const n = 1 << 20
	key := []byte("k")
	many := func(words ...string) [][]byte {
		args := make([][]byte, 0, n)
		for _, w := range words {
			args = append(args, []byte(w))
		}
		for len(args) < n {
			args = append(args, key)
		}
		return args
	}
	var c Call
	for _, test := range []struct {
		args [][]byte
		keys int
		err  error
	}{
		{many("DEL"), n - 1, nil},
		{many("MSET"), n / 2, nil},
		{many("EVAL", "s", strconv.Itoa(n-3)), n - 3, nil},
		{many("EVAL", "s", strconv.Itoa(n-2)), 0, NoKeys},
		{many("SORT", "k"), 0, NoKeys},
		{many("XREAD", "STREAMS"), n/2 - 1, nil},
		{many("MIGRATE", "h", "1", "", "0", "1", "KEYS"), n - 7, nil},
		{many("GET"), 0, WrongArity},
	} {
		err := Newest().Parse(test.args, &c)
		if len(c.Keys) != test.keys || (err == nil) != (test.err == nil) || err != nil && err != test.err {
			t.Errorf("%s: %d keys, %v", test.args[0], len(c.Keys), err)
		}
	}
	if err := Newest().Parse(split("get a"), &c); err != nil || cap(c.Keys) > keptKeys {
		t.Errorf("a small call keeps room for %d keys, %v", cap(c.Keys), err)
	}
}

var benchmarked = []string{"GET key:1234", "SET key:1234 value", "MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9 j 10",
	"XADD s * f v", "EVAL s 2 a b", "CONFIG GET save", "SORT a BY w_* STORE b", "XREAD COUNT 1 STREAMS a b 0 0",
	"SUBSCRIBE a b", "NOSUCH a", "ZUNIONSTORE d 2 a b"}

func TestParseDoesNotAllocate(t *testing.T) {
	table := Newest()
	for _, line := range benchmarked {
		args := split(line)
		var c Call
		table.Parse(args, &c)
		if n := testing.AllocsPerRun(100, func() { table.Parse(args, &c) }); n != 0 {
			t.Errorf("%s: %v allocations", line, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	table := Newest()
	for _, line := range benchmarked {
		args := split(line)
		b.Run(string(args[0]), func(b *testing.B) {
			var c Call
			b.ReportAllocs()
			for b.Loop() {
				table.Parse(args, &c)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range Newest().Specs() {
		f.Add([]byte(strings.ReplaceAll(s.Name, "|", "\n") + "\na\n1\nb\nc"))
	}
	for _, line := range append(slices.Clone(benchmarked), "xreadgroup group g c block 1 streams a >", "migrate h 1 0 1 1 keys a",
		"georadius a 0 0 1 m store b", "set a b get ifeq c", "bitfield a get u8 0 set u8 0 1") {
		f.Add(bytes.ReplaceAll([]byte(line), []byte(" "), []byte("\n")))
	}
	var tables []*Table
	for _, label := range Labels() {
		table, _ := For(label)
		tables = append(tables, table)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		args := bytes.Split(data, []byte("\n"))
		upper := make([][]byte, len(args))
		copy(upper, args)
		upper[0] = bytes.ToUpper(args[0])
		var c, again Call
		for _, table := range tables {
			err := table.Parse(args, &c)
			if problem := unsound(&c, err); problem != "" {
				t.Fatalf("%s: %q: %s", table.Label(), args, problem)
			}
			if !isASCII(args[0]) {
				continue // ToUpper knows more letters than Redis does
			}
			if err2 := table.Parse(upper, &again); err2 != err || again.Spec != c.Spec || again.Class != c.Class || !slices.Equal(again.Keys, c.Keys) {
				t.Fatalf("%s: %q: the case of the name matters", table.Label(), args)
			}
		}
	})
}

// unsound says which promise of Parse a call breaks, "" for none.
func unsound(c *Call, err error) string {
	for _, k := range c.Keys {
		if k.Arg < 1 || int(k.Arg) >= len(c.Args) || k.Access > Read|Write {
			return fmt.Sprintf("key %v of %d arguments", k, len(c.Args))
		}
	}
	for _, ch := range c.Channels {
		if ch.Arg < 1 || int(ch.Arg) >= len(c.Args) {
			return fmt.Sprintf("channel %v of %d arguments", ch, len(c.Args))
		}
	}
	if _, isFault := err.(Fault); err != nil && (!isFault || c.Class != Refused || len(c.Keys)+len(c.Channels) > 0) {
		return fmt.Sprintf("fault %v with class %s, %d keys", err, c.Class, len(c.Keys))
	}
	if err != nil {
		return ""
	}
	switch {
	case c.Spec == nil:
		return "no command and no fault"
	case !c.Spec.takes(len(c.Args)):
		return "wrong arity and no fault"
	case c.Spec.keys.method != noKeys && !c.Spec.keys.mayBeNone && c.Spec.keys.method != jsonDebugKeys && len(c.Keys) == 0:
		return "no key and no fault"
	case c.Spec.TakesChannels() && len(c.Channels) == 0:
		return "no channel and no fault"
	}
	return ""
}

func isASCII(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c >= 0x80 })
}
