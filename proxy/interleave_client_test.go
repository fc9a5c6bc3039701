package proxy

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/resp"
)

// databases is how many the scripted node has.
const databases = 3

// doorway is a session's connection without a socket, whose client may be slow.
type doorway struct {
	desk
	blocked bool
}

func (d *doorway) Blocked() bool { return d.blocked }

// player is a client: it makes calls of all kinds and knows what it must read.
type player struct {
	pl      *play
	who     int
	s       *session
	door    *doorway
	backlog []byte // said, not sent
	sent    int    // bytes sent
	said    int    // bytes said
	want    []owed
	waits   []int // where calls end that may wait
	checked int   // bytes of door.sent
	framer  resp.Framer
	frame   []byte
	pushes  map[int]int // lane: the running number of its last push
	nonce   int         // of the last reply that held one
	asked   map[string]int
	resumed time.Time // when its subscriptions last stood again

	mute    bool
	proto   int
	db      int
	subs    [3][]string
	watched bool
	over    bool // says nothing more
	hungUp  bool // EOF
	left    bool // its connection is gone
	fled    bool // by a reset of its own

	anything bool // what it reads is not known beforehand, but whose it is
	keep     bool // it is kept in frames
	frames   []byte
}

// owed is a reply.
type owed struct {
	text, or string // the one or the other
	head     string // or begins with
	end      int    // where its call ends in what was said
}

func ownerOf(word string) (int, bool) {
	if len(word) < 3 || word[0] != 'c' {
		return 0, false
	}
	who, _, found := strings.Cut(word[1:], "-")
	n, err := strconv.Atoi(who)
	return n, found && err == nil
}

func (p *player) datum() string {
	p.pl.nonce++
	word := fmt.Sprintf("c%d-%d", p.who, p.pl.nonce)
	if p.pl.r.IntN(16) == 0 {
		word += strings.Repeat("x", p.pl.r.IntN(200))
	}
	return word
}

func (p *player) say(words ...string) {
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	n := len(p.backlog)
	p.backlog = resp.AppendCommand(p.backlog, args)
	p.said += len(p.backlog) - n
	if p.pl.trace != nil {
		p.pl.trace("client %d says %v, muted %v", p.who, words, p.mute)
	}
}

func (p *player) expect(text string) {
	if !p.mute {
		p.want = append(p.want, owed{text: text, end: p.said})
	}
}

func (p *player) loud(text string) { p.want = append(p.want, owed{text: text, end: p.said}) }

func (p *player) last() *owed {
	if p.mute {
		return &owed{}
	}
	return &p.want[len(p.want)-1]
}

func (p *player) listens() bool { return p.proto == 2 && counted(&p.subs, 0)+counted(&p.subs, 2) > 0 }

func (p *player) subscribed() bool { return counted(&p.subs, 0)+counted(&p.subs, 2) > 0 }

// act says one more thing, or a whole episode of them. It reports that the
// session began anew meanwhile.
func (p *player) act(depth int) (anew bool) {
	r := p.pl.r
	if p.over {
		return true
	}
	if p.listens() {
		p.listen()
		return false
	}
	pick := r.IntN(24)
	if depth > 2 {
		pick = r.IntN(8)
	}
	switch pick {
	case 0, 1, 2, 3:
		p.get()
	case 4:
		word := p.datum()
		p.say("ECHO", word)
		p.expect(bulk(word))
	case 5:
		p.say("PING")
		p.expect("+PONG\r\n")
	case 6:
		p.say("NOSUCH")
		p.expect("")
		p.last().head = "-ERR unknown command"
	case 7:
		p.say("CLIENT", "REPLY", "SKIP")
		mute := p.mute
		p.mute = true
		p.get()
		p.mute = mute
	case 8, 9, 10:
		p.transaction()
	case 11, 12:
		word := p.datum()
		p.say("BLPOP", word, "0")
		p.expect("*2\r\n" + bulk(word) + bulk(word+"v"))
		p.last().or = nullArray(p.proto)
		p.waits = append(p.waits, p.said)
	case 13, 14:
		return p.watch(depth)
	case 15:
		p.say("WAIT", "1", "0")
		p.expect(":1\r\n")
		p.waits = append(p.waits, p.said)
	case 16, 17:
		return p.subscribe(depth)
	case 18, 19:
		return p.mode(depth)
	case 20:
		return p.quiet(depth)
	case 21:
		p.selectDB()
	case 22:
		p.hello()
	default:
		return p.end()
	}
	return false
}

func (p *player) get() {
	word := p.datum()
	p.say("GET", word)
	p.expect(bulk(fmt.Sprintf("%s@%d", word, p.db)))
}

// transaction is MULTI with all that may follow, without WATCH.
func (p *player) transaction() {
	r := p.pl.r
	p.say("MULTI")
	p.expect("+OK\r\n")
	db, array, n, dirty := p.db, "", 0, false
	for range r.IntN(4) {
		switch r.IntN(6) {
		case 0:
			to := r.IntN(databases + 1)
			p.say("SELECT", strconv.Itoa(to))
			if to < databases {
				array, db = array+"+OK\r\n", to
			} else {
				array += "-ERR DB index is out of range\r\n"
			}
		case 1:
			p.say("BLPOP", p.datum(), "0")
			array += nullArray(p.proto)
		case 2:
			if r.IntN(3) == 0 {
				p.say("GET")
				p.expect("")
				p.last().head = "-ERR wrong number"
				dirty = true
				continue
			}
			fallthrough
		default:
			word := p.datum()
			p.say("GET", word)
			array += bulk(fmt.Sprintf("%s@%d", word, db))
		}
		n++
		p.expect("+QUEUED\r\n")
	}
	switch watched := p.watched; {
	case r.IntN(4) == 0:
		p.say("DISCARD")
		p.expect("+OK\r\n")
	case dirty:
		p.say("EXEC")
		p.expect("-EXECABORT Transaction discarded because of previous errors.\r\n")
	default:
		p.say("EXEC")
		p.expect(fmt.Sprintf("*%d\r\n", n) + array)
		if watched {
			p.last().or = nullArray(p.proto)
		}
		p.db = db
	}
	p.watched = false
}

func (p *player) watch(depth int) bool {
	p.say("WATCH", p.datum())
	p.expect("+OK\r\n")
	p.watched = true
	for range p.pl.r.IntN(3) {
		if p.act(depth + 3) {
			return true
		}
	}
	if p.pl.r.IntN(3) == 0 {
		p.say("UNWATCH")
		p.expect("+OK\r\n")
		p.watched = false
		return false
	}
	if p.pl.r.IntN(3) == 0 {
		p.selectDB()
	}
	p.transaction()
	return false
}

// change is one call of the SUBSCRIBE family.
func (p *player) change(verb string, names ...string) {
	p.say(append([]string{strings.ToUpper(verb)}, names...)...)
	f := family(verb)
	if leaves(verb) && len(names) == 0 {
		if names = slices.Clone(p.subs[f]); len(names) == 0 {
			names = []string{""}
		}
	}
	for _, name := range names {
		at := slices.Index(p.subs[f], name)
		switch {
		case leaves(verb) && at >= 0:
			p.subs[f] = slices.Delete(p.subs[f], at, at+1)
		case !leaves(verb) && at < 0:
			p.subs[f] = append(p.subs[f], name)
		}
		p.asked[verb+" "+name]++
		p.loud(confirmation(p.proto, verb, name, counted(&p.subs, f)))
	}
}

func (p *player) subscribe(depth int) bool {
	r := p.pl.r
	var names []string
	for range 1 + r.IntN(3) {
		names = append(names, p.datum())
	}
	p.change(families[r.IntN(3)]+"subscribe", names...)
	for range r.IntN(5) {
		if p.act(depth + 1) {
			return true
		}
	}
	if r.IntN(8) == 0 {
		return p.end()
	}
	for f, prefix := range families {
		if len(p.subs[f]) > 0 {
			p.change(prefix + "unsubscribe")
		}
	}
	return false
}

// listen is what may be said with RESP2 subscriptions, and what may not.
func (p *player) listen() {
	r := p.pl.r
	f := r.IntN(3)
	switch r.IntN(5) {
	case 0:
		p.change(families[f]+"subscribe", p.datum(), p.datum())
	case 1:
		if len(p.subs[f]) > 0 {
			p.change(families[f]+"unsubscribe", p.subs[f][r.IntN(len(p.subs[f]))])
		}
	case 2:
		p.say("GET", p.datum())
		p.expect("")
		p.last().head = "-ERR Can't execute"
	default:
		p.say("PING")
		p.expect("*2\r\n" + bulk("pong") + bulk(""))
	}
}

// mode is tracking, or what the node is told of evictions.
func (p *player) mode(depth int) bool {
	r := p.pl.r
	words := []string{"CLIENT", "NO-EVICT", "ON"}
	if r.IntN(3) > 0 && p.proto == 3 {
		words = []string{"CLIENT", "TRACKING", "ON"}
	}
	p.say(words...)
	p.expect("+OK\r\n")
	for range r.IntN(4) {
		if p.act(depth + 1) {
			return true
		}
	}
	if p.listens() {
		return false
	}
	if r.IntN(8) == 0 {
		return p.end()
	}
	words[2] = "OFF"
	p.say(words...)
	p.expect("+OK\r\n")
	return false
}

func (p *player) quiet(depth int) bool {
	if p.mute {
		return false
	}
	p.say("CLIENT", "REPLY", "OFF")
	p.mute = true
	for range p.pl.r.IntN(4) {
		if p.act(depth + 1) {
			return true
		}
	}
	if p.listens() {
		p.over = true
		return true
	}
	p.mute = false
	p.say("CLIENT", "REPLY", "ON")
	p.expect("+OK\r\n")
	return false
}

func (p *player) selectDB() {
	to := p.pl.r.IntN(databases + 1)
	p.say("SELECT", strconv.Itoa(to))
	if to < databases {
		p.db = to
		p.expect("+OK\r\n")
		return
	}
	p.expect("-ERR DB index is out of range\r\n")
}

func (p *player) hello() {
	if p.subscribed() {
		return
	}
	p.proto = 2 + p.pl.r.IntN(2)
	p.say("HELLO", strconv.Itoa(p.proto))
	p.expect("")
	if p.last().head = "%7\r\n"; p.proto == 2 {
		p.last().head = "*14\r\n"
	}
}

// end is how a client ends what it is in: it begins anew, listens to everything,
// or leaves.
func (p *player) end() bool {
	switch r := p.pl.r; {
	case r.IntN(3) == 0 && !p.listens():
		p.say("MONITOR")
		p.expect("+OK\r\n")
		if r.IntN(2) == 0 {
			p.say("GET", p.datum())
			p.expect("")
			p.last().head = "-ERR Can't execute"
		}
	case r.IntN(4) == 0:
		p.say("QUIT")
		p.expect("+OK\r\n")
		p.over = true
		return true
	}
	p.say("RESET")
	p.mute = false
	p.expect("+RESET\r\n")
	p.proto, p.db, p.subs, p.watched = 2, 0, [3][]string{}, false
	return true
}

// feed gives the session a piece of what was said.
func (p *player) feed(n int) {
	n = min(n, len(p.backlog))
	if n == 0 || p.door.paused || p.door.closing || p.left || p.hungUp {
		return
	}
	piece := bytes.Clone(p.backlog[:n])
	p.backlog = p.backlog[n:]
	p.sent += n
	p.s.Data(nil, piece)
	for i := range piece {
		piece[i] = '#' // whoever kept these bytes without a copy is found out
	}
}
