package backend

import (
	"bytes"

	"github.com/sallyport/sallyport/proxy/resp"
)

// receiveOwn is Receive for a connection of one session's own: what comes may be
// a reply, a confirmation, or something nobody has asked for.
func (p *Pipeline) receiveOwn(b []byte) error {
	o := p.own
	attempted := p.link.Attempted()
	for len(b) > 0 {
		if o.state != inUse || o.giving {
			return errSurplusReply // whose it was once, nobody can tell
		}
		m, done, err := p.framer.Next(b)
		switch {
		case err != nil:
			return err
		case m == 0:
			return resp.ErrReply
		}
		piece := b[:m]
		b = b[m:]
		if o.to == undecided && p.unclear(o) {
			if o.peek = append(o.peek, piece...); !done && len(o.peek) < mostPeek {
				continue
			}
			piece = o.peek
		}
		if o.to == undecided {
			o.to = p.direct(o, piece)
		}
		err = p.deliver(o, piece, done, attempted)
		o.peek = o.peek[:0]
		if done {
			o.to = undecided
		}
		switch {
		case err != nil:
			return err
		case o.condemned:
			return errClosed
		case p.state != ready:
			return nil
		}
	}
	return nil
}

// mostPeek is enough of a frame to hold the word it begins with: the longest
// is "punsubscribe".
const mostPeek = 64

// unclear reports that the frame at hand may be a push, a confirmation or a reply,
// which its first word tells.
func (p *Pipeline) unclear(o *Own) bool {
	kind := p.framer.Kind()
	return kind == '>' || kind == '*' && p.proto == 2 && o.subscribed
}

// direct tells where a frame goes, by its beginning.
func (p *Pipeline) direct(o *Own, piece []byte) direction {
	switch kind := p.framer.Kind(); {
	case kind == '>':
		return p.directWord(verbOf(firstWord(piece)))
	case kind == '*' && p.proto == 2 && o.subscribed:
		switch word := firstWord(piece); string(word) {
		case "message", "pmessage", "smessage":
			return toOwner
		default:
			if v := verbOf(word); v != noVerb {
				return p.directWord(v)
			}
		}
	case o.monitoring && p.fifo.len() == 0:
		return toOwner
	}
	return toWaiter
}

// directWord tells where what begins with a word of the SUBSCRIBE family goes, or
// a push that begins otherwise. A node may end subscriptions by itself, as it does
// when a slot moves away, and never begins one.
func (p *Pipeline) directWord(v verb) direction {
	switch {
	case v != noVerb && p.fifo.len() > 0 && p.fifo.head().verb == v:
		return toWaiter
	case v == subscribe || v == psubscribe || v == ssubscribe:
		return toNobody
	}
	return toOwner
}

// deliver hands a piece of a frame to whom it is for.
func (p *Pipeline) deliver(o *Own, piece []byte, done bool, attempted uint64) error {
	switch o.to {
	case toNobody:
		return errSurplusReply
	case toOwner:
		if o.giving || o.state == spare {
			return errPush // it is not as clean as it was said to be, and must not become anybody's
		}
		p.served, p.servedTag, p.servedN = o.owner, 0, 1
		o.owner.Push(piece, done)
		p.served = nil
		return nil
	}
	if p.fifo.len() == 0 {
		return p.surplus(piece)
	}
	head := p.fifo.head()
	if head.start >= attempted {
		return errSurplusReply
	}
	w, tag, n := head.w, head.tag, uint64(1)
	if !done {
		p.hand(w, tag, 1, piece, false)
		return nil
	}
	if head.verb != noVerb && p.framer.Kind() == '-' {
		n = head.n // one refusal stands for all confirmations
	}
	p.stats.Replies += n
	p.fifo.take(n)
	p.hand(w, tag, int(n), piece, true)
	return nil
}

// firstWord is the first element of an aggregate of strings, as far as it is there.
func firstWord(b []byte) []byte {
	for range 2 { // the aggregate's head, the string's
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return nil
		}
		b = b[i+1:]
	}
	if i := bytes.IndexByte(b, '\r'); i >= 0 {
		return b[:i]
	}
	return nil
}

// verb is a call that is answered by confirmations, one for each of its channels.
type verb uint8

const (
	noVerb verb = iota
	subscribe
	unsubscribe
	psubscribe
	punsubscribe
	ssubscribe
	sunsubscribe
)

func verbOf(word []byte) verb {
	switch string(word) {
	case "subscribe":
		return subscribe
	case "unsubscribe":
		return unsubscribe
	case "psubscribe":
		return psubscribe
	case "punsubscribe":
		return punsubscribe
	case "ssubscribe":
		return ssubscribe
	case "sunsubscribe":
		return sunsubscribe
	}
	return noVerb
}

// Subscribe sends one call of the SUBSCRIBE family, named word, that is owed n confirmations,
// with the tags from tag on. It is Send otherwise. A refusal by the node stands
// for all of them.
func (o *Own) Subscribe(word string, tag uint64, n int, at int64, args [][]byte) Failure {
	return o.SubscribeFor(o.owner, word, tag, n, at, args)
}

// SubscribeFor is Subscribe with somebody else waiting for the confirmations. Each
// is handed over by itself, with the tag.
func (o *Own) SubscribeFor(w Waiter, word string, tag uint64, n int, at int64, args [][]byte) Failure {
	p := &o.line.Pipeline
	if f := p.Send(w, tag, at, args); f != 0 {
		return f
	}
	last := p.fifo.at(p.fifo.n - 1)
	last.verb, last.n = verbOf([]byte(word)), uint64(n)
	p.fifo.calls += uint64(n - 1)
	return 0
}
