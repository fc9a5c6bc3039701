package backend

import (
	"errors"
	"time"

	"github.com/sallyport/sallyport/proxy/resp"
)

// Waiter is owed replies. Its methods run on the loop of the Pipeline that
// calls them, and must not call Send on it.
type Waiter interface {
	// Reply hands over bytes of replies, valid until it returns. With last, p
	// ends the replies to the n calls sent with tag, tag+1, …, which are whole
	// now. Without, p is a piece of the reply to the one call tag, and more comes.
	Reply(tag uint64, n int, p []byte, last bool)
	// Fail says that no (further) reply to the call will come.
	Fail(tag uint64, f Failure)
}

// Failure is why a call has no reply. The zero value means that it was accepted.
type Failure uint8

const (
	// Unavailable: the call was certainly not sent.
	Unavailable Failure = iota + 1
	// Lost: the call was sent, or may have been, and the connection ended
	// before its reply was whole. Whether it ran is unknown.
	Lost
	// Broken: handing over the reply failed in a way that leaves the waiter's own
	// state in doubt. It must end too.
	Broken
	// Overloaded: the queue in front of a connection still being dialled is full; not sent.
	Overloaded
	// Limited: there are as many connections of sessions' own as there may be; not sent.
	Limited
	// NoReplica: none may be read from now, and the primary is not to be; not sent.
	NoReplica
	// NoLogin: the login that the call needs, a user's own, can't be made; not sent.
	NoLogin
)

// Errors that end a node connection. None of them carries bytes of a reply.
var (
	errSurplusReply = errors.New("a reply nobody waits for")
	errPush         = errors.New("a push on a shared connection")
)

// Link is the connection below a Pipeline: *loop.Conn, or a test's.
type Link interface {
	Out() []byte
	SetOut([]byte)
	Appended() uint64
	Attempted() uint64
	Close()
}

// waiting is one or more consecutive calls of one waiter, sent in one turn,
// whose replies are owed.
type waiting struct {
	w     Waiter
	tag   uint64 // of the first
	n     uint64 // how many
	start uint64 // where the first one's bytes begin in the link's output
	at    int64  // when they were sent: the turn's clock, Unix ns
	verb  verb   // noVerb: an ordinary call. Else one call that is owed n confirmations
}

// one is how many replies the first of the calls is owed.
func (w *waiting) one() uint64 {
	if w.verb != noVerb {
		return w.n // one call, whatever it is owed
	}
	return 1
}

type state uint8

const (
	dialling state = iota // no connection yet; calls queue in early, bounded
	ready                 // connected
	backoff               // down; calls fail at once until the next attempt
	closed                // for good
)

// What may queue in front of a connection that is being dialled.
const (
	maxEarlyCalls = 65536
	maxEarlyBytes = 16 << 20
	// Before a session's own: a whole transaction, which leaves as one block.
	ownEarlyCalls = 2 * maxEarlyCalls
	ownEarlyBytes = 80 << 20
)

// Pipeline is the shared connection of one loop to one node, for one database
// and protocol version: a FIFO of who waits, and the framer that tells where a
// reply ends. It belongs to its loop's goroutine.
type Pipeline struct {
	state     state
	link      Link
	framer    resp.Framer
	proto     int
	fifo      fifo
	served    Waiter // whose Reply is running; still set in drop if that panicked
	servedTag uint64
	servedN   int    // the replies it was given
	early     []byte // calls accepted while dialling
	congested bool   // see Congested
	own       *Own   // whose connection this is; nil: it is shared
	retired   retirement
	why       Failure // what is heard while there is no connection; 0: Unavailable
	clock     func() time.Time
	stats     *Stats
}

// Stats counts what a loop's pipelines did. Plain numbers owned by the loop.
type Stats struct {
	Sent     uint64 // calls
	Replies  uint64
	Failed   uint64 // calls that got a Failure
	Retired  uint64 // connections that took no new calls any more because of a big reply
	Full     uint64 // calls refused because too much waited already for a node or a connection
	Waited   uint64 // calls, and connections with what waits for them, that waited for a node that was away
	GaveUp   uint64 // of these, the ones whose time was over before it was there
	Broken   uint64 // connections ended because the stream was not what was promised
	BytesOut uint64
	BytesIn  uint64
	Latency  func(d time.Duration, n uint64) // of n calls, from Send to the last byte of the reply, by the turn's clock; nil: not observed
	Read     func(replica bool)              // of a call that could be read from a replica: whether it went to one; nil: not observed
}

// NewPipeline makes a pipeline whose connection is still being dialled, for
// those that drive it themselves with Attach, Receive and Drop; a Pool drives
// its own. clock gives the turn's time.
func NewPipeline(proto int, clock func() time.Time, st *Stats) *Pipeline {
	return &Pipeline{proto: proto, clock: clock, stats: st, state: dialling}
}

// Send queues one judged call, made at the turn's time in Unix ns. args are
// encoded at once and not kept. A Failure other than zero means the call was not
// taken and the Waiter will hear nothing.
func (p *Pipeline) Send(w Waiter, tag uint64, at int64, args [][]byte) Failure {
	switch p.state {
	case ready:
		start := p.link.Appended()
		p.link.SetOut(resp.AppendCommand(p.link.Out(), args))
		p.fifo.push(w, tag, 1, start, at)
	case dialling:
		if !p.room(1) {
			p.stats.Failed++
			p.stats.Full++
			return Overloaded
		}
		start := uint64(len(p.early))
		p.early = resp.AppendCommand(p.early, args)
		p.fifo.push(w, tag, 1, start, at)
	default:
		p.stats.Failed++
		return p.absent()
	}
	p.stats.Sent++
	return 0
}

// absent is why calls fail that certainly were not sent.
func (p *Pipeline) absent() Failure {
	if p.why != 0 {
		return p.why
	}
	return Unavailable
}

// Open reports a shared connection that is there and takes calls: Output and SendRun may be used.
func (p *Pipeline) Open() bool { return p.state == ready && p.own == nil && !p.retired.so }

// Output is what waits to be sent, for an Open pipeline. A run of calls is made by appending to it
// each as resp.AppendCommand writes it, and handing the whole to SendRun, with no other call in between.
func (p *Pipeline) Output() []byte { return p.link.Out() }

// SendRun is Send for n judged calls of one Waiter, with the tags tag, tag+1, …, which stand in out behind what Output gave.
func (p *Pipeline) SendRun(w Waiter, tag uint64, at int64, n uint64, out []byte) {
	start := p.link.Appended()
	p.link.SetOut(out)
	p.fifo.push(w, tag, n, start, at)
	p.stats.Sent += n
}

// maxUnsent is how many bytes of calls may wait for the kernel before those who
// send are held up. It is more than a connection sends in one turn, so that above
// it the connection is always blocked and its Drained follows.
const maxUnsent = 4 << 20

// Congested reports that the node takes calls slower than they come: whoever has
// more should keep them. Send takes them all the same. Once it is so it stays so
// for everybody until the node has caught up, or those who were held up would
// starve behind others who keep it busy. Pool.Eased tells when.
func (p *Pipeline) Congested() bool {
	if p.state == ready && p.link.Appended()-p.link.Attempted() > maxUnsent {
		p.congested = true
	}
	return p.congested
}

// CaughtUp says that all calls have been handed to the kernel.
func (p *Pipeline) CaughtUp() { p.congested = false }

// Shared reports whether the connection is not one session's own, which ends with
// that session.
func (p *Pipeline) Shared() bool { return p.own == nil }

// Outstanding is the number of replies still owed.
func (p *Pipeline) Outstanding() int { return p.fifo.len() }

// Up reports whether a connection is there now.
func (p *Pipeline) Up() bool { return p.state == ready }

// Gone reports whether the pipeline takes no more calls, because it is closed for
// good or carries a big reply; its Pool has another. Who is still owed replies here
// waits for them before it asks for that one, or its calls could overtake each other.
func (p *Pipeline) Gone() bool { return p.state == closed || p.retired.so }

// Attach gives the pipeline its fresh connection. Calls that queued meanwhile go first.
func (p *Pipeline) Attach(l Link) {
	p.link = l
	p.state, p.why = ready, 0
	p.framer.Reset(p.proto)
	if len(p.early) > 0 {
		l.SetOut(append(l.Out(), p.early...))
	}
	p.early = nil
}

// Receive takes bytes from the node and hands the replies to whoever is first in
// the queue. Its error means that the stream can no longer be trusted.
func (p *Pipeline) Receive(b []byte) error {
	p.stats.BytesIn += uint64(len(b))
	if p.own != nil {
		return p.receiveOwn(b)
	}
	now := p.clock().UnixNano()
	attempted := p.link.Attempted()
	for len(b) > 0 {
		if p.fifo.len() == 0 {
			return p.surplus(b)
		}
		head := p.fifo.head()
		if head.start >= attempted {
			return p.surplus(b) // no byte of the call has left: this answers another one
		}
		w, tag := head.w, head.tag
		n, end, tail, err := p.measure(b, head.n)
		if n > 0 {
			p.stats.Replies += n
			if p.stats.Latency != nil {
				p.stats.Latency(time.Duration(now-head.at), n)
			}
			p.fifo.take(n)
			p.retired.grown = 0
			p.hand(w, tag, int(n), b[:end], true)
		}
		if tail > 0 && p.state == ready {
			if p.retired.watch(tail, p.framer.Announced()) {
				p.retired.so = p.retired.retire()
			}
			p.hand(w, tag+n, 1, b[end:end+tail], false)
		}
		if err != nil || p.state != ready {
			return err
		}
		b = b[end+tail:]
	}
	return nil
}

// hand gives replies to a waiter and remembers whom, in case it panics.
func (p *Pipeline) hand(w Waiter, tag uint64, n int, b []byte, last bool) {
	p.served, p.servedTag, p.servedN = w, tag, n
	w.Reply(tag, n, b, last)
	p.served = nil
}

// measure counts how many replies at the start of b are whole, up to most: n of
// them in end bytes, then tail bytes of one that is unfinished. With an error,
// what was measured before it is still good.
func (p *Pipeline) measure(b []byte, most uint64) (n uint64, end, tail int, err error) {
	for n < most && end < len(b) {
		m, done, err := p.framer.Next(b[end:])
		switch {
		case err != nil:
			return n, end, 0, err
		case p.framer.Kind() == '>':
			return n, end, 0, errPush
		case m == 0:
			return n, end, 0, resp.ErrReply
		case !done:
			return n, end, m, nil
		}
		end += m
		n++
	}
	return n, end, 0, nil
}

// surplus says what is wrong with bytes that nobody waits for.
func (p *Pipeline) surplus(b []byte) error {
	if _, _, err := p.framer.Next(b); err != nil {
		return err
	}
	if p.framer.Kind() == '>' {
		return errPush
	}
	return errSurplusReply
}

// Drop ends the current connection's duties: every waiter hears that its call
// was lost, or certainly never sent. Calls fail until Attach.
func (p *Pipeline) Drop() { p.drop(backoff) }

func (p *Pipeline) drop(next state) {
	attempted := uint64(0)
	if p.link != nil {
		attempted = p.link.Attempted()
	}
	connected := p.state == ready
	p.state, p.link, p.early, p.congested = next, nil, nil, false
	p.retired.grown, p.retired.held, p.retired.pouring = 0, false, false
	defer p.fail(connected, attempted) // whatever becomes of who is told first
	if p.served != nil {
		p.failServed()
	}
}

// failServed tells the waiter whose Reply panicked, once for each call that it was
// being given the reply to.
func (p *Pipeline) failServed() {
	w, tag := p.served, p.servedTag
	p.served = nil
	if p.fifo.len() > 0 {
		// A reply that was not whole is still owed. Who waits for it may be used
		// for another call once it has failed, so it must not fail twice.
		if head := p.fifo.head(); head.w == w && head.tag == tag {
			p.fifo.take(head.one())
			p.stats.Failed++
		}
	}
	for i := range p.servedN {
		w.Fail(tag+uint64(i), Broken)
	}
}

// fail tells everybody who is owed a reply. A panic over one of them keeps it from
// none of the others: what was left here would be taken for what the next
// connection owes.
func (p *Pipeline) fail(connected bool, attempted uint64) {
	defer func() {
		if p.fifo.len() > 0 {
			p.fail(connected, attempted)
		}
	}()
	for p.fifo.len() > 0 {
		head := *p.fifo.head()
		p.fifo.take(head.one())
		p.stats.Failed++
		// Of calls sent together only where the first one begins is known: if
		// that may have left, any of them may have.
		if connected && head.start < attempted {
			head.w.Fail(head.tag, Lost)
		} else {
			head.w.Fail(head.tag, p.absent())
		}
	}
	p.fifo.release()
}

// fifo is a growing ring of waiting calls.
type fifo struct {
	ring  []waiting // length a power of two
	first uint
	n     uint // entries
	calls uint64
}

// len is the number of calls.
func (f *fifo) len() int { return int(f.calls) }

func (f *fifo) at(i uint) *waiting { return &f.ring[(f.first+i)&uint(len(f.ring)-1)] }

// push appends n calls in a row, of which the first has tag.
func (f *fifo) push(w Waiter, tag, n, start uint64, at int64) {
	f.calls += n
	if f.n > 0 {
		if last := f.at(f.n - 1); last.w == w && last.tag+last.n == tag && last.at == at && last.verb == noVerb {
			last.n += n
			return
		}
	}
	if f.n == uint(len(f.ring)) {
		f.grow()
	}
	f.n++
	*f.at(f.n - 1) = waiting{w: w, tag: tag, n: n, start: start, at: at}
}

func (f *fifo) head() *waiting { return f.at(0) }

// take ends the first n calls of the head.
func (f *fifo) take(n uint64) {
	head := f.at(0)
	f.calls -= n
	if head.tag, head.n = head.tag+n, head.n-n; head.n == 0 {
		head.w = nil // a client that left must not be kept alive
		f.first++
		f.n--
	}
}

func (f *fifo) grow() {
	bigger := make([]waiting, max(16, 2*len(f.ring)))
	for i := range f.n {
		bigger[i] = *f.at(i)
	}
	f.ring, f.first = bigger, 0
}

// release gives back a ring that a burst made large.
func (f *fifo) release() {
	if f.n == 0 && len(f.ring) > 4096 {
		f.ring, f.first = nil, 0
	}
}
