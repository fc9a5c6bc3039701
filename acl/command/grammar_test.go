package command_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/acl/command"
)

// request is a generated request. want, where the generator knows it, are the
// keys the command would touch, by its manual; nil where only the server knows.
type request struct {
	args  []string
	want  map[string]command.Access
	known bool
}

// writer generates requests. Keys are unique within one, so that a key's text
// tells its place.
type writer struct {
	*rand.Rand
	serial int
	request
}

func (w *writer) add(args ...string) { w.args = append(w.args, args...) }

// word adds an option in any case.
func (w *writer) word(s string) {
	switch w.IntN(3) {
	case 0:
		s = strings.ToLower(s)
	case 1:
		n := 1 + w.IntN(len(s))
		s = strings.ToLower(s[:n]) + s[n:]
	}
	w.add(s)
}

// key adds a key, expecting that access.
func (w *writer) key(a command.Access) {
	w.serial++
	k := "k" + strconv.Itoa(w.serial)
	w.add(k)
	w.want[k] = a
}

// value adds a value that is no key, now and then one that looks like an option.
func (w *writer) value() {
	switch w.IntN(8) {
	case 0:
		w.add(optionWords[w.IntN(len(optionWords))])
		return
	case 1:
		w.add(keyWords[w.IntN(len(keyWords))])
		return
	}
	w.serial++
	w.add("v" + strconv.Itoa(w.serial))
}

func (w *writer) values(n int) {
	for range n {
		w.value()
	}
}

func (w *writer) number() { w.add(strconv.Itoa(w.IntN(20))) }

// keysCounted adds numkeys and that many keys.
func (w *writer) keysCounted(a command.Access, least int) {
	n := least + w.IntN(4)
	w.add(strconv.Itoa(n))
	for range n {
		w.key(a)
	}
}

// some runs some of the choices, in any order and number.
func (w *writer) some(most int, choices ...func()) {
	for range w.IntN(most + 1) {
		choices[w.IntN(len(choices))]()
	}
}

var optionWords = []string{
	"STORE", "STOREDIST", "GET", "BY", "LIMIT", "STREAMS", "BLOCK", "COUNT", "GROUP", "KEYS", "AUTH", "AUTH2", "COPY",
	"REPLACE", "NX", "XX", "EX", "KEEPTTL", "ASC", "ALPHA", "WITHDIST", "SET", "INCRBY", "OVERFLOW", "LEFT", "MIN", "NOACK",
	"WEIGHTS", "AGGREGATE", "MEMORY", "IFEQ", "0", "1", "2", "3", "",
}

// keyWords are the options by which the server finds keys.
var keyWords = []string{"STORE", "STOREDIST", "STREAMS", "KEYS", "GET"}

// oddWords are what a number of keys must not be.
var oddWords = []string{"-1", "+1", "01", " 1", "1 ", "0", "00", "-0", "", "1.0", "1e0", "0x1", "2147483648", "4294967297",
	"9223372036854775807", "9223372036854775808", "18446744073709551617", "-9223372036854775808", "99999999999999999999999", "x"}

const (
	read      = command.Read
	write     = command.Write
	readWrite = command.Read | command.Write
)

// grammars generate valid requests of the commands whose keys need more than a
// place, most with any options in any order.
var grammars = map[string]func(w *writer){
	"set": func(w *writer) {
		access := write
		w.key(0)
		key := w.args[len(w.args)-1]
		w.add("value")
		w.some(4,
			func() { w.word("NX") }, func() { w.word("KEEPTTL") },
			func() { w.word("EX"); w.number() }, func() { w.word("PXAT"); w.number() },
			func() { w.word("GET"); access = readWrite },
			func() { w.word("IFEQ"); w.value(); access = readWrite })
		w.want[key] = access
	},
	"bitfield": func(w *writer) {
		access := read
		w.key(0)
		key := w.args[len(w.args)-1]
		w.some(5,
			func() { w.word("GET"); w.values(2) },
			func() { w.word("OVERFLOW"); w.word("SAT") },
			func() { w.word("SET"); w.values(3); access = readWrite },
			func() { w.word("INCRBY"); w.values(3); access = readWrite })
		w.want[key] = access
	},
	"sort":    func(w *writer) { w.sort(true) },
	"sort_ro": func(w *writer) { w.sort(false) },
	"georadius": func(w *writer) {
		w.key(read)
		w.add("0", "0", "1")
		w.word("KM")
		w.geo()
	},
	"georadiusbymember": func(w *writer) {
		w.key(read)
		w.value()
		w.add("1")
		w.word("KM")
		w.geo()
	},
	"xread": func(w *writer) {
		w.some(3, func() { w.word("COUNT"); w.value() }, func() { w.word("BLOCK"); w.value() })
		w.streams()
	},
	"xreadgroup": func(w *writer) {
		w.word("GROUP")
		w.values(2)
		w.some(3, func() { w.word("COUNT"); w.value() }, func() { w.word("BLOCK"); w.value() }, func() { w.word("NOACK") })
		w.streams()
	},
	"migrate": func(w *writer) {
		w.add("127.0.0.1", "1")
		single := w.IntN(2) == 0
		if single {
			w.key(readWrite)
		} else {
			w.add("")
		}
		w.add("0", "1")
		w.some(3, func() { w.word("COPY") }, func() { w.word("REPLACE") },
			func() { w.word("AUTH"); w.value() }, func() { w.word("AUTH2"); w.values(2) })
		if !single {
			w.word("KEYS")
			for range 1 + w.IntN(3) {
				w.key(readWrite)
			}
		}
	},
	"eval":        func(w *writer) { w.script(readWrite) },
	"evalsha":     func(w *writer) { w.script(readWrite) },
	"fcall":       func(w *writer) { w.script(readWrite) },
	"eval_ro":     func(w *writer) { w.script(read) },
	"evalsha_ro":  func(w *writer) { w.script(read) },
	"fcall_ro":    func(w *writer) { w.script(read) },
	"lmpop":       func(w *writer) { w.keysCounted(readWrite, 1); w.word("LEFT"); w.count() },
	"zmpop":       func(w *writer) { w.keysCounted(readWrite, 1); w.word("MAX"); w.count() },
	"blmpop":      func(w *writer) { w.number(); w.keysCounted(readWrite, 1); w.word("RIGHT"); w.count() },
	"bzmpop":      func(w *writer) { w.number(); w.keysCounted(readWrite, 1); w.word("MIN"); w.count() },
	"sintercard":  func(w *writer) { w.keysCounted(read, 1); w.limit() },
	"zintercard":  func(w *writer) { w.keysCounted(read, 1); w.limit() },
	"zunion":      func(w *writer) { w.keysCounted(read, 1); w.weights() },
	"zinter":      func(w *writer) { w.keysCounted(read, 1); w.weights() },
	"zdiff":       func(w *writer) { w.keysCounted(read, 1); w.some(1, func() { w.word("WITHSCORES") }) },
	"zunionstore": func(w *writer) { w.key(write); w.keysCounted(read, 1); w.weights() },
	"zinterstore": func(w *writer) { w.key(write); w.keysCounted(read, 1); w.weights() },
	"zdiffstore":  func(w *writer) { w.key(write); w.keysCounted(read, 1) },
	"mset":        func(w *writer) { w.pairs() },
	"msetnx":      func(w *writer) { w.pairs() },
	"pfmerge": func(w *writer) {
		w.key(readWrite)
		for range w.IntN(3) {
			w.key(read)
		}
	},
}

func (w *writer) sort(store bool) {
	w.key(read)
	choices := []func(){
		func() { w.word("ASC") }, func() { w.word("ALPHA") },
		func() { w.word("LIMIT"); w.values(2) },
		func() { w.word("BY"); w.value() }, func() { w.word("GET"); w.value() },
	}
	if store {
		choices = append(choices, func() { w.word("STORE"); w.key(write) })
	}
	w.some(5, choices...)
}

func (w *writer) geo() {
	w.some(5, func() { w.word("WITHDIST") }, func() { w.word("WITHCOORD") }, func() { w.word("DESC") },
		func() { w.word("COUNT"); w.value() },
		func() { w.word("STORE"); w.key(write) }, func() { w.word("STOREDIST"); w.key(write) })
}

func (w *writer) streams() {
	w.word("STREAMS")
	n := 1 + w.IntN(3)
	for range n {
		w.key(read)
	}
	w.values(n)
}

func (w *writer) script(a command.Access) {
	w.add("return 1")
	w.keysCounted(a, 0)
	w.values(w.IntN(3))
}

func (w *writer) pairs() {
	for range 1 + w.IntN(4) {
		w.key(write)
		w.value()
	}
}

func (w *writer) count() { w.some(1, func() { w.word("COUNT"); w.number() }) }
func (w *writer) limit() { w.some(1, func() { w.word("LIMIT"); w.number() }) }
func (w *writer) weights() {
	w.some(1, func() { w.word("WEIGHTS"); w.number() }, func() { w.word("AGGREGATE"); w.word("MAX") })
}

// start begins a request with a command's words.
func start(r *rand.Rand, s *command.Spec) *writer {
	w := &writer{Rand: r, request: request{want: map[string]command.Access{}}}
	for _, word := range strings.Split(s.Name, "|") {
		w.word(word)
	}
	return w
}

// proper writes a request by the command's grammar.
func proper(r *rand.Rand, s *command.Spec) request {
	w := start(r, s)
	grammars[s.Name](w)
	w.known = true
	return w.request
}

// spoiled writes one by the grammar and then changes an argument or the end.
func spoiled(r *rand.Rand, s *command.Spec) request {
	q := proper(r, s)
	q.known = false
	at := 1 + r.IntN(len(q.args)-1)
	switch r.IntN(4) {
	case 0:
		q.args[at] = optionWords[r.IntN(len(optionWords))]
	case 1:
		q.args[at] = oddWords[r.IntN(len(oddWords))]
	case 2:
		q.args = q.args[:at]
	default:
		q.args = append(q.args, fmt.Sprint("x", r.IntN(100)))
	}
	return q
}

// random writes arguments of all sorts in about the number the command takes.
func random(r *rand.Rand, s *command.Spec) request {
	w := start(r, s)
	n := s.Arity
	if n < 0 {
		n = -n + r.IntN(5)
	}
	if r.IntN(12) == 0 {
		n += r.IntN(3) - 1
	}
	for len(w.args) < n {
		switch r.IntN(8) {
		case 0:
			w.number()
		case 1:
			w.add(oddWords[r.IntN(len(oddWords))])
		default:
			w.value()
		}
	}
	return w.request
}
