package backend

import (
	"errors"
	"time"

	"github.com/sallyport/sallyport/proxy/loop"
)

// Owner is the session that a connection is its own. Its methods run on the
// connection's loop. They may Close, Rest or Give the connection and must not
// send on it.
type Owner interface {
	Waiter
	// Push hands over bytes of what the node says without being asked: messages,
	// invalidations, the lines of MONITOR. They are valid until it returns; last
	// says that p ends one.
	Push(p []byte, last bool)
	// Lost says that the connection ended, or could not be had, without its owner
	// having asked for that. Every call that was owed a reply has heard Fail.
	Lost()
}

// Own is a connection that one session has to itself, because its calls leave
// something on the connection or keep it waiting: WATCH, SUBSCRIBE, BLPOP.
// It belongs to its loop's goroutine. Ended ones ignore every call.
//
// Nobody else's calls ever travel on it while it has an owner, and it gets
// another owner only through Give.
type Own struct {
	line      *line
	owner     Owner
	account   string // whose limit it counts against
	state     ownState
	condemned bool // to be closed as soon as Receive has returned
	giving    bool // to be given then, if nothing came that nobody waits for
	given     bool // see Given
	timer     loop.Timer

	peek       []byte // the beginning of a frame of which it isn't known yet what it is
	to         direction
	subscribed bool // RESP2: arrays may be messages
	monitoring bool // lines come without end

	prev, next *Own // the pool's list
}

type ownState uint8

const (
	inUse   ownState = iota
	resting          // its session may want it again soon; the first to go where there are too many
	spare            // clean, and nobody's
	ended
)

type direction uint8

const (
	undecided direction = iota
	toWaiter            // a reply, or a confirmation
	toOwner             // a push
	toNobody            // a confirmation of what nobody has asked for
)

// errClosed ends Receive for a connection its owner has closed from within.
var errClosed = errors.New("closed by its owner")

const (
	restFor  = 10 * time.Second // how long a session's own connection is kept for its next use
	spareFor = 30 * time.Second // and one that is nobody's
	maxSpare = 32               // clean ones kept for each database and protocol version
)

// Own gives a session a connection to itself, a clean one that nobody uses or a
// new one that is being dialled; calls may be sent at once. account names whose
// limit it counts against. It answers Limited, and no connection, where there are
// as many as may be.
func (p *Pool) Own(k Key, account string, owner Owner) (*Own, Failure) {
	if p.closed {
		return nil, Unavailable
	}
	if !p.claim(account) {
		return nil, Limited
	}
	for list := p.spare[k]; len(list) > 0; list = p.spare[k] {
		o := list[len(list)-1]
		p.spare[k] = list[:len(list)-1]
		o.timer.Stop()
		p.b.owned.forget() // it was counted when it was dialled
		o.state, o.owner, o.account = inUse, owner, account
		return o, 0
	}
	ln := &line{pool: p, key: k}
	ln.Pipeline = *NewPipeline(k.Proto, p.l.Now, &p.apart)
	o := p.own(ln, account, owner)
	ln.dial()
	o.wait()
	return o, 0
}

// own makes a line somebody's own. The place has been claimed.
func (p *Pool) own(ln *line, account string, owner Owner) *Own {
	o := &Own{line: ln, owner: owner, account: account}
	ln.own, ln.Pipeline.own = o, o
	p.owns.add(o)
	return o
}

// claim takes a place for one more connection, if need be from a connection that
// rests or is nobody's.
func (p *Pool) claim(account string) bool {
	for {
		switch p.b.owned.claim(account) {
		case claimed:
			return true
		case accountFull:
			if !p.reclaim(func(o *Own) bool { return o.state == resting && o.account == account }) {
				return false
			}
		case allFull:
			if !p.reclaim(func(o *Own) bool { return o.state == spare || o.state == resting }) {
				return false
			}
		}
	}
}

// reclaim closes the first connection of this loop that fits.
func (p *Pool) reclaim(fits func(*Own) bool) bool {
	for o := p.owns.first; o != nil; o = o.next {
		if fits(o) {
			o.lost(o.state == spare)
			return true
		}
	}
	return false
}

// Pipeline is where its session's calls go.
func (o *Own) Pipeline() *Pipeline { return &o.line.Pipeline }

// Stood reports whether the connection was ever there. One that was not has been waited for already.
func (o *Own) Stood() bool { return !o.line.since.IsZero() }

// ID is the connection's number at the node, 0 while it is not known.
func (o *Own) ID() int64 { return o.line.id }

// Key is what the connection was made for.
func (o *Own) Key() Key { return o.line.key }

// Subscribed says whether arrays may be messages, as on a RESP2 connection with
// subscriptions.
func (o *Own) Subscribed(on bool) { o.subscribed = on }

// Monitored says that lines come that nobody waits for.
func (o *Own) Monitored() { o.monitoring = true }

// SetOwner gives the connection to somebody else, who vouches for it from now on.
func (o *Own) SetOwner(owner Owner) { o.owner = owner }

// Speak says which protocol version the node answers in from the next frame on.
func (o *Own) Speak(proto int) {
	o.line.key.Proto, o.line.proto = proto, proto
	o.line.framer.Reset(proto)
}

// Moved says which database the connection has selected since.
func (o *Own) Moved(db int) { o.line.key.DB = db }

// Pause stops reading from the node, because the owner has enough for now.
func (o *Own) Pause() {
	if l, ok := o.line.link.(pausable); ok {
		l.Pause()
	}
}

// Resume undoes Pause.
func (o *Own) Resume() {
	if l, ok := o.line.link.(pausable); ok {
		l.Resume()
	}
}

// Rest says that the connection is clean and its session does not need it now.
// It is kept for that session for ten seconds, and less where there are many.
func (o *Own) Rest() {
	if o.state != inUse {
		return
	}
	o.state = resting
	o.after(restFor)
}

// Wake takes a resting connection into use again.
func (o *Own) Wake() {
	if o.state == resting {
		o.state = inUse
		o.timer.Stop()
	}
}

// Give says that the connection is clean and may be another session's. Whoever
// still has its Pipeline finds that Gone.
func (o *Own) Give() {
	ln, pool := o.line, o.line.pool
	if o.state == ended {
		return
	}
	if ln.served != nil {
		o.giving, o.owner = true, nobody{} // its bytes are being handed over now
		return
	}
	o.giving = false
	clean := ln.state == ready && ln.Outstanding() == 0 && !ln.framer.Partial()
	if !clean || pool == nil || len(pool.spare[ln.key]) >= maxSpare {
		o.given = clean && pool == nil
		o.Close()
		return
	}
	o.line = ln.handOver()
	o.line.own, o.line.Pipeline.own = o, o
	pool.b.owned.settle(o.account)
	o.owner, o.account, o.state = nobody{}, "", spare
	o.subscribed, o.monitoring = false, false
	pool.spare[o.line.key] = append(pool.spare[o.line.key], o)
	o.after(spareFor)
}

// Within closes the connection if it has been neither given nor closed until then.
func (o *Own) Within(d time.Duration) {
	if o.state == inUse {
		o.after(d)
	}
}

// after closes the connection if nobody wants it for so long.
func (o *Own) after(d time.Duration) {
	if pool := o.line.pool; pool != nil {
		pool.l.Arm(&o.timer, d, func() { o.lost(o.state == spare) })
	}
}

// Close ends the connection; its owner hears nothing more but Fail for calls that
// are owed replies.
func (o *Own) Close() {
	if o.state == ended {
		return
	}
	if o.line.served != nil {
		o.condemned = true // its bytes are being handed over now
		o.owner = nobody{}
		return
	}
	o.lost(true)
}

// lost ends the connection, whoever wished it. quiet: the owner knows.
func (o *Own) lost(quiet bool) {
	if o.state == ended {
		return
	}
	ln, pool, was := o.line, o.line.pool, o.state
	o.state = ended
	o.timer.Stop()
	if pool != nil {
		ln.retry.Stop()
		ln.outage.over()
		ln.up(false)
		switch {
		case was == spare:
			pool.unspare(o)
			pool.b.owned.forget()
		case ln.trying: // the attempt goes on, so its place is taken until it ends
			ln.unplaced = func() { pool.b.owned.release(o.account) }
			ln.quit()
		default:
			pool.b.owned.release(o.account)
		}
		pool.owns.remove(o)
	}
	conn := ln.conn
	ln.conn = nil
	defer func() { // after a panic of who waited, too
		owner := o.owner
		o.owner = nobody{}
		if conn != nil {
			conn.Close()
		}
		if !quiet {
			owner.Lost()
		}
	}()
	ln.drop(closed)
}

// unspare takes a connection off the list of clean ones.
func (p *Pool) unspare(o *Own) {
	list := p.spare[o.line.key]
	for i, other := range list {
		if other == o {
			p.spare[o.line.key] = append(list[:i], list[i+1:]...)
			return
		}
	}
}

// handOver moves the connection below a line to a fresh one, so that nobody who
// still has the old Pipeline can send on it.
func (ln *line) handOver() *line {
	fresh := &line{pool: ln.pool, key: ln.key, conn: ln.conn, since: ln.since, id: ln.id, at: ln.at}
	fresh.Pipeline = *NewPipeline(ln.key.Proto, ln.clock, &ln.pool.apart)
	fresh.link, fresh.framer, fresh.state = ln.link, ln.framer, ready
	fresh.conn.SetHandler(fresh)
	ln.conn, ln.link, ln.state, ln.Pipeline.own = nil, nil, closed, nil
	return fresh
}

// NewOwn makes a connection of one session's own for those that drive it
// themselves with Attach, Receive and Drop on its Pipeline; see NewPipeline.
func NewOwn(k Key, clock func() time.Time, st *Stats, owner Owner) *Own {
	ln := &line{key: k}
	ln.Pipeline = *NewPipeline(k.Proto, clock, st)
	o := &Own{line: ln, owner: owner}
	ln.own, ln.Pipeline.own = o, o
	return o
}

// Ended reports whether the connection is no more.
func (o *Own) Ended() bool { return o.state == ended || o.condemned || o.giving }

// End says that the connection is gone, for those that drive it themselves.
func (o *Own) End() { o.lost(false) }

// Take is Receive and what follows on it, for those that drive it themselves.
// Its error is Receive's.
func (o *Own) Take(b []byte) error {
	if o.state == ended {
		return nil
	}
	err := o.line.Receive(b)
	switch {
	case o.condemned:
		o.lost(true)
		return nil
	case err != nil:
		o.lost(false)
	case o.giving:
		o.Give()
	}
	return err
}

// Given reports whether the connection ended because it was clean and could have
// been another session's, for those that drive it themselves: what lies below may
// then go on below another one.
func (o *Own) Given() bool { return o.given }

// nobody owns connections that have no session any more.
type nobody struct{}

func (nobody) Reply(uint64, int, []byte, bool) {}
func (nobody) Fail(uint64, Failure)            {}
func (nobody) Push([]byte, bool)               {}
func (nobody) Lost()                           {}

var _ Owner = nobody{}
