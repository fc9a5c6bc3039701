package proxy

import (
	"bytes"
	"strconv"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/resp"
)

// merge says how the replies of several shards become one.
type merge uint8

const (
	mergeSame   merge = iota // the first one: all say the same
	mergeSum                 // integers, added up
	mergeLists               // arrays, one behind the other
	mergeLeast               // arrays of integers, the least in each place
	mergePlaces              // arrays, each value where its key stood
	mergeScan                // one shard's answer to SCAN, with a cursor for all
	mergeCounts              // arrays of names and integers, the integers added up
)

// gather is one call that was made as several. It is owed their replies and owes
// its session one.
type gather struct {
	s      *session
	tag    uint64
	how    merge
	parts  []gathered
	left   int
	places int // mergePlaces: values in all
	shard  int // mergeScan: who answers
	router *backend.Router
	sides  uint64 // mergeScan over several backends: how many
	side   uint64 // and which one answers
	after  uint64 // and which one comes next, sides: none
	bytes  int64
	over   bool // more came than the session may have
	failed backend.Failure
	held   bool // parts are still being sent
}

type gathered struct {
	reply []byte
	at    []int // mergePlaces: where its values go
}

// What has been put together is used again, within bounds.
const (
	spareGathers    = 1024    // a loop keeps
	spareParts      = 16      // each with so many parts
	spareReplyBytes = 1 << 10 // and so much room for the reply of each
	sparePlaces     = 64
)

func (s *session) gather(how merge, parts int) *gather {
	w := s.w
	g := &gather{}
	if n := len(w.gathers); n > 0 {
		g = w.gathers[n-1]
		w.gathers = w.gathers[:n-1]
	}
	if parts <= cap(g.parts) {
		g.parts = g.parts[:parts]
	} else {
		g.parts = make([]gathered, parts)
	}
	*g = gather{s: s, tag: s.slots.next, how: how, parts: g.parts, left: parts, held: true}
	return g
}

// recycle gives back one that is owed nothing and owes nothing. Whoever still tells it of the end of a
// detour does so before another call is served.
func (g *gather) recycle() {
	w := g.s.w
	if len(w.gathers) >= spareGathers || cap(g.parts) > spareParts {
		return
	}
	for i := range g.parts {
		p := &g.parts[i]
		if p.reply, p.at = p.reply[:0], p.at[:0]; cap(p.reply) > spareReplyBytes {
			p.reply = nil
		}
		if cap(p.at) > sparePlaces {
			p.at = nil
		}
	}
	w.gathers = append(w.gathers, g)
}

// send makes one of the calls.
func (g *gather) send(part, shard int, args [][]byte) {
	if f := g.s.toShard(g, uint64(part), shard, args); f != 0 {
		g.Fail(uint64(part), f)
	}
}

// sent says that all have been made: the session's slot is taken.
func (g *gather) sent(size int) {
	g.held = false
	g.s.slots.alone(routed, size, g.s.at)
	if g.left == 0 {
		g.finish()
	}
}

// Detour implements backend.Caller.
func (g *gather) Detour(by int) { g.s.Detour(by) }

// Reply implements backend.Waiter.
func (g *gather) Reply(part uint64, _ int, p []byte, last bool) {
	if g.s.ended {
		if last {
			g.done()
		}
		return
	}
	if g.bytes += int64(len(p)); g.bytes > g.s.w.limits.OutputBytes {
		g.over = true
		g.s.gathered -= int64(len(g.parts[part].reply))
		g.parts[part].reply = nil
	} else {
		g.parts[part].reply = append(g.parts[part].reply, p...)
		g.s.gathered += int64(len(p))
		if len(p) > 4<<10 || g.s.gathered > ownHighWater {
			g.s.account()
		}
	}
	if last {
		g.done()
	}
}

// Fail implements backend.Waiter: what one shard has not answered the whole can't be.
func (g *gather) Fail(_ uint64, f backend.Failure) {
	if g.left == 0 && !g.held {
		g.s.Fail(g.tag, f) // all have answered, and something broke over the whole
		return
	}
	if f == backend.Broken || f == backend.Lost && g.failed != backend.Broken || g.failed == 0 {
		g.failed = f
	}
	g.done()
}

func (g *gather) done() {
	if g.left--; g.left == 0 && !g.held {
		g.finish()
	}
}

// finish answers the session.
func (g *gather) finish() {
	g.answer()
	g.recycle()
}

func (g *gather) answer() {
	if g.s.ended {
		g.s.swallow(g.tag, 1)
		return
	}
	defer g.settle()
	switch {
	case g.failed == backend.Unavailable && len(g.parts) > 1 && g.any():
		g.s.Fail(g.tag, backend.Lost) // some of it has run
	case g.failed != 0:
		g.s.Fail(g.tag, g.failed)
	case g.over:
		g.s.Reply(g.tag, 1, resp.AppendError(nil, "ERR the reply is larger than a client of this proxy may have waiting"), true)
	default:
		g.s.Reply(g.tag, 1, g.merged(), true)
	}
}

// settle takes what was gathered out of the session's account.
func (g *gather) settle() {
	for i := range g.parts {
		g.s.gathered -= int64(len(g.parts[i].reply))
	}
	g.s.gathered = max(0, g.s.gathered)
	g.s.account()
}

// any reports whether some shard has answered.
func (g *gather) any() bool {
	for _, p := range g.parts {
		if len(p.reply) > 0 {
			return true
		}
	}
	return false
}

// merged puts the replies together. An error of any shard is the whole's.
func (g *gather) merged() []byte {
	for _, p := range g.parts {
		if len(p.reply) > 0 && p.reply[0] == '-' {
			return p.reply
		}
	}
	var out []byte
	ok := true
	switch g.how {
	case mergeSame:
		return g.parts[0].reply
	case mergeSum:
		var sum int64
		for _, p := range g.parts {
			n, isInt := integerReply(p.reply)
			sum, ok = sum+n, ok && isInt
		}
		out = resp.AppendInt(nil, sum)
	case mergeLists:
		out, ok = g.lists()
	case mergeLeast:
		out, ok = g.least()
	case mergeCounts:
		out, ok = g.counts()
	case mergePlaces:
		out, ok = g.placed()
	case mergeScan:
		out, ok = g.scanned()
	}
	if !ok {
		return mergeError
	}
	return out
}

// integerReply reads ":n\r\n".
func integerReply(b []byte) (int64, bool) {
	if len(b) < 4 || b[0] != ':' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b[1:len(b)-2]), 10, 64)
	return n, err == nil
}

// elements cuts an array or set into its elements.
func elements(b []byte, proto int) ([][]byte, bool) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 2 || b[0] != '*' && b[0] != '~' {
		return nil, false
	}
	n, err := strconv.Atoi(string(b[1:end]))
	if err != nil || n < 0 || n > len(b) {
		return nil, false
	}
	b = b[end+2:]
	out := make([][]byte, n)
	var f resp.Framer
	f.Reset(proto)
	for i := range out {
		m, done, err := f.Next(b)
		if err != nil || !done {
			return nil, false
		}
		out[i], b = b[:m], b[m:]
	}
	return out, len(b) == 0
}

func (g *gather) lists() ([]byte, bool) {
	n := 0
	var all [][]byte
	for _, p := range g.parts {
		items, ok := elements(p.reply, g.s.proto)
		if !ok {
			return nil, false
		}
		n += len(items)
		all = append(all, items...)
	}
	return append(resp.AppendArray(nil, n), bytes.Join(all, nil)...), true
}

func (g *gather) least() ([]byte, bool) {
	var least []int64
	for i, p := range g.parts {
		items, ok := elements(p.reply, g.s.proto)
		if !ok || i > 0 && len(items) != len(least) {
			return nil, false
		}
		for j, item := range items {
			n, ok := integerReply(item)
			if !ok {
				return nil, false
			}
			if i == 0 {
				least = append(least, n)
			} else {
				least[j] = min(least[j], n)
			}
		}
	}
	out := resp.AppendArray(nil, len(least))
	for _, n := range least {
		out = resp.AppendInt(out, n)
	}
	return out, true
}

// counts adds up what stands behind each name. All shards were asked for the same names.
func (g *gather) counts() ([]byte, bool) {
	var first [][]byte
	var sums []int64
	for i, p := range g.parts {
		items, ok := elements(p.reply, g.s.proto)
		if !ok || len(items)%2 != 0 || i > 0 && len(items) != len(first) {
			return nil, false
		}
		if i == 0 {
			first, sums = items, make([]int64, len(items)/2)
		}
		for j := range sums {
			n, isInt := integerReply(items[2*j+1])
			if !isInt || !bytes.Equal(items[2*j], first[2*j]) {
				return nil, false
			}
			sums[j] += n
		}
	}
	out := resp.AppendArray(nil, len(first))
	for j, n := range sums {
		out = resp.AppendInt(append(out, first[2*j]...), n)
	}
	return out, true
}

func (g *gather) placed() ([]byte, bool) {
	values := make([][]byte, g.places)
	for _, p := range g.parts {
		items, ok := elements(p.reply, g.s.proto)
		if !ok || len(items) != len(p.at) {
			return nil, false
		}
		for i, at := range p.at {
			values[at] = items[i]
		}
	}
	return append(resp.AppendArray(nil, g.places), bytes.Join(values, nil)...), true
}

// scanned replaces the shard's cursor by one for all shards.
func (g *gather) scanned() ([]byte, bool) {
	items, ok := elements(g.parts[0].reply, g.s.proto)
	if !ok || len(items) != 2 {
		return nil, false
	}
	_, cursor, ok := bytes.Cut(items[0], []byte("\r\n"))
	if !ok || len(cursor) < 2 {
		return nil, false
	}
	next, ok := g.advance(cursor[:len(cursor)-2])
	if !ok {
		return nil, false
	}
	out := resp.AppendBulkString(resp.AppendArray(nil, 2), next)
	return append(out, items[1]...), true
}

// mergeError is a reply that could not be put together.
var mergeError = resp.AppendError(nil, "ERR the replies of the shards can't be put together")
