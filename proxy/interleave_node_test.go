package proxy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/resp"
)

// lane is a connection to the scripted node: what lies below a Pipeline that is
// shared, or below one session's own. It answers as Redis does, when it likes and
// in what pieces it likes, and every datum in its answers names whose it is.
type lane struct {
	pl     *play
	n      int
	key    backend.Key
	link   *laneLink // nil: still being dialled
	pipe   *backend.Pipeline
	own    *backend.Own // nil: shared, or nobody's
	holder *player      // whose own it is
	reader resp.Reader
	todo   [][]string // received, not answered
	out    []byte     // answered, not delivered
	gone   bool
	lied   bool

	proto, db int
	blocked   bool // the head of todo is a call that waits for an element
	inMulti   bool
	queued    [][]string
	watching  bool
	subs      [3][]string
	tracking  bool
	marked    bool // a mode of CLIENT is on
	monitor   bool
	soiled    bool // had a subscription, tracking, MONITOR or WAIT at any time
	serial    int  // of its pushes
}

// laneLink is a nodeLink that can be paused.
type laneLink struct {
	nodeLink
	paused bool
}

func (l *laneLink) Pause()  { l.paused = true }
func (l *laneLink) Resume() { l.paused = false }

// attach ends the dialling.
func (ln *lane) attach() {
	ln.link = &laneLink{}
	ln.proto, ln.db = ln.key.Proto, ln.key.DB
	ln.reader.Reset(resp.Limits{Args: 1024, Bulk: 1 << 20, Inline: 1 << 16, Request: 1 << 20}, nil)
	ln.pipe.Attach(ln.link)
}

// close is the node hanging up, or not being there.
func (ln *lane) close() {
	ln.gone = true
	if ln.own != nil {
		ln.own.End()
		return
	}
	ln.pipe.Drop()
}

// take is what arrives at the node when a part of what was sent is flushed.
func (ln *lane) take(n int) {
	if ln.link == nil || ln.gone {
		return
	}
	n = min(n, len(ln.link.out))
	ln.reader.Feed(ln.link.out[:n])
	ln.link.out = ln.link.out[n:]
	ln.link.attempted += uint64(n)
	for {
		args, err := ln.reader.Next()
		if err != nil {
			ln.pl.faultf("the node was sent bytes that are no call: %v", err)
			break
		}
		if args == nil {
			break
		}
		words := make([]string, len(args))
		for i, a := range args {
			words[i] = string(a)
		}
		ln.arrived(words)
	}
	ln.reader.Release()
}

// arrived checks that a call may travel here at all.
func (ln *lane) arrived(words []string) {
	for _, w := range words[1:] {
		if who, is := ownerOf(w); is && ln.own != nil && who != ln.holder.who {
			ln.pl.faultf("a call of client %d came over the own connection of client %d", who, ln.holder.who)
		}
	}
	if ln.own == nil && ln.holder == nil && !strings.Contains("GET ECHO PUBLISH EVAL", words[0]) {
		ln.pl.faultf("%s came over a shared connection", words[0])
	}
	ln.todo = append(ln.todo, words)
}

// work answers the first call that waits. Blocked, it answers with an element or,
// with null, as after a time-out.
func (ln *lane) work(null bool) {
	if len(ln.todo) == 0 || ln.gone {
		return
	}
	words := ln.todo[0]
	if words[0] == "BLPOP" && !ln.blocked && !ln.inMulti && !ln.pl.settling {
		ln.blocked = true
		return
	}
	ln.blocked = false
	ln.todo = ln.todo[1:]
	if ln.inMulti && !slices.Contains([]string{"EXEC", "DISCARD", "MULTI"}, words[0]) {
		ln.queued = append(ln.queued, words)
		ln.out = append(ln.out, "+QUEUED\r\n"...)
		return
	}
	ln.out = append(ln.out, ln.answer(words, null)...)
}

var families = []string{"", "p", "s"}

// answer carries out a call.
func (ln *lane) answer(words []string, null bool) string {
	switch words[0] {
	case "GET":
		return bulk(fmt.Sprintf("%s@%d", words[1], ln.db))
	case "EVAL":
		return ":0\r\n"
	case "ECHO", "PING":
		if len(words) == 1 {
			return "+PONG\r\n"
		}
		return bulk(words[1])
	case "BLPOP":
		if null || ln.inMulti {
			return nullArray(ln.proto)
		}
		return "*2\r\n" + bulk(words[1]) + bulk(words[1]+"v")
	case "WAIT":
		ln.soiled = true
		return ":1\r\n"
	case "SELECT":
		n, _ := strconv.Atoi(words[1])
		if n >= databases {
			return "-ERR DB index is out of range\r\n"
		}
		ln.db = n
		return "+OK\r\n"
	case "HELLO":
		ln.proto = int(words[1][0] - '0')
		return "%1\r\n+proto\r\n:" + words[1] + "\r\n"
	case "MULTI":
		ln.inMulti = true
		return "+OK\r\n"
	case "WATCH":
		ln.watching = true
		return "+OK\r\n"
	case "UNWATCH":
		ln.watching = false
		return "+OK\r\n"
	case "EXEC":
		return ln.exec(null)
	case "CLIENT":
		ln.soiled = ln.soiled || words[1] == "TRACKING"
		if words[1] == "TRACKING" {
			ln.tracking = words[2] == "ON"
		} else {
			ln.marked = strings.EqualFold(words[2], "on")
		}
		return "+OK\r\n"
	case "MONITOR":
		ln.monitor, ln.soiled = true, true
		return "+OK\r\n"
	}
	return ln.subscription(strings.ToLower(words[0]), words[1:])
}

func (ln *lane) exec(null bool) string {
	calls := ln.queued
	watched := ln.watching
	ln.inMulti, ln.queued, ln.watching = false, nil, false
	selects := slices.ContainsFunc(calls, func(words []string) bool { return words[0] == "SELECT" })
	if watched && null && !selects {
		return nullArray(ln.proto)
	}
	text := fmt.Sprintf("*%d\r\n", len(calls))
	ln.inMulti = true // nothing blocks in there
	for _, words := range calls {
		text += ln.answer(words, false)
	}
	ln.inMulti = false
	return text
}

func (ln *lane) subscription(verb string, names []string) string {
	f := family(verb)
	if !leaves(verb) {
		ln.soiled = true
	}
	if leaves(verb) && len(names) == 0 {
		if names = slices.Clone(ln.subs[f]); len(names) == 0 {
			return confirmation(ln.proto, verb, "", counted(&ln.subs, f))
		}
	}
	text := ""
	for _, name := range names {
		at := slices.Index(ln.subs[f], name)
		switch {
		case leaves(verb) && at >= 0:
			ln.subs[f] = slices.Delete(ln.subs[f], at, at+1)
		case !leaves(verb) && at < 0:
			ln.subs[f] = append(ln.subs[f], name)
		}
		text += confirmation(ln.proto, verb, name, counted(&ln.subs, f))
	}
	return text
}

// counted is the number in a confirmation.
func counted(subs *[3][]string, f int) int {
	if f == bySsubscribe {
		return len(subs[f])
	}
	return len(subs[bySubscribe]) + len(subs[byPsubscribe])
}

func confirmation(proto int, verb, name string, n int) string {
	what := bulk(name)
	if name == "" {
		if what = "$-1\r\n"; proto == 3 {
			what = "_\r\n"
		}
	}
	return pushHead(proto, 3) + bulk(verb) + what + fmt.Sprintf(":%d\r\n", n)
}

func pushHead(proto, n int) string {
	if proto == 3 {
		return fmt.Sprintf(">%d\r\n", n)
	}
	return fmt.Sprintf("*%d\r\n", n)
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func nullArray(proto int) string {
	if proto == 3 {
		return "_\r\n"
	}
	return "*-1\r\n"
}

// push says something unasked, if anybody has asked for such things here. It
// carries whose it is and a running number.
func (ln *lane) push() {
	if ln.gone || ln.holder == nil {
		return
	}
	text := ""
	datum := fmt.Sprintf("c%d-push-%d-%d", ln.holder.who, ln.n, ln.serial+1)
	switch r := ln.pl.r; {
	case ln.monitor:
		text = "+" + datum + "\r\n"
	case ln.tracking && ln.proto == 3:
		text = ">2\r\n" + bulk("invalidate") + "*1\r\n" + bulk(datum)
	default:
		f := r.IntN(3)
		if len(ln.subs[f]) == 0 {
			return
		}
		name := ln.subs[f][r.IntN(len(ln.subs[f]))]
		if f == byPsubscribe {
			text = pushHead(ln.proto, 4) + bulk("pmessage") + bulk(name) + bulk(name)
		} else {
			text = pushHead(ln.proto, 3) + bulk(families[f]+"message") + bulk(name)
		}
		text += bulk(datum)
	}
	ln.serial++
	ln.out = append(ln.out, text...)
}

// deliver hands n bytes over. It says what is wrong with them, if anything.
func (ln *lane) deliver(n int) {
	if ln.gone || ln.link == nil || ln.link.paused || len(ln.out) == 0 {
		return
	}
	n = min(n, len(ln.out))
	piece := ln.out[:n]
	ln.out = ln.out[n:]
	var err error
	if ln.own != nil {
		err = ln.own.Take(piece)
	} else {
		err = ln.pipe.Receive(piece)
	}
	if err == nil {
		return
	}
	if !ln.pl.lies {
		ln.pl.faultf("an honest node's bytes were taken for a fault: %v", err)
	}
	ln.gone = true
	if ln.own == nil {
		ln.pipe.Drop()
	}
}

// clean reports whether nothing of its session is left on the connection.
func (ln *lane) clean() bool {
	return !ln.inMulti && !ln.watching && !ln.tracking && !ln.monitor && !ln.marked && !ln.soiled &&
		len(ln.queued) == 0 && len(ln.subs[0])+len(ln.subs[1])+len(ln.subs[2]) == 0 &&
		ln.key == backend.Key{DB: ln.db, Proto: ln.proto} && len(ln.todo) == 0 && ln.reader.Buffered() == 0
}

// lie does what no node should: a reply too many or too few, bytes that mean
// nothing, a push that nobody asked for, half a reply. On a connection that many
// share only what can be noticed at all: a reply that is merely missing there is,
// to whoever looks, the next one.
func (ln *lane) lie() {
	r := ln.pl.r
	alone := ln.own != nil
	mine := "+OK\r\n"
	if ln.holder != nil {
		mine = bulk(fmt.Sprintf("c%d-0", ln.holder.who))
	}
	switch r.IntN(6) {
	case 0:
		if alone || ln.pipe.Outstanding() == 0 {
			ln.out = append(ln.out, mine...)
		}
		if !alone { // once somebody waits it is an answer like any other
			ln.deliver(len(ln.out))
		}
	case 1:
		if alone && len(ln.todo) > 0 {
			ln.todo = ln.todo[1:]
		}
	case 2:
		ln.out = append(ln.out, "$3\r\nabcd\r\n"...)
	case 3:
		ln.out = append(ln.out, ">2\r\n$10\r\ninvalidate\r\n*1\r\n"+mine...)
	case 4:
		if alone && len(ln.out) > 0 {
			ln.out = append(ln.out, ln.out...)
		}
	default:
		if alone && len(ln.out) > 1 {
			ln.out = ln.out[:r.IntN(len(ln.out))]
		}
		ln.out = append(ln.out, '!')
	}
	ln.lied = true
}
