package proxy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// read checks what the client has got since it last looked.
func (p *player) read() {
	for p.checked < len(p.door.sent) {
		n, done, err := p.framer.Next(p.door.sent[p.checked:])
		if err != nil {
			p.pl.faultf("client %d reads what is no reply: %v in %.300q", p.who, err, p.door.sent[max(0, p.checked-100):])
			return
		}
		p.frame = append(p.frame, p.door.sent[p.checked:p.checked+n]...)
		p.checked += n
		if !done {
			return
		}
		p.got(string(p.frame))
		p.frame = p.frame[:0]
	}
	p.door.sent, p.checked = p.door.sent[:0], 0
}

// got judges one frame.
func (p *player) got(frame string) {
	if p.pl.trace != nil {
		p.pl.trace("client %d reads %q", p.who, frame)
	}
	if p.keep {
		p.frames = append(p.frames, frame...)
	}
	push := false
	for word := range strings.FieldsFuncSeq(frame, func(c rune) bool { return c == '\r' || c == '\n' || c == '+' }) {
		who, is := ownerOf(word)
		if !is {
			continue
		}
		if who != p.who {
			p.pl.faultf("client %d reads %.200q, which is client %d's", p.who, frame, who)
			return
		}
		if _, rest, found := strings.Cut(word, "-push-"); found {
			push = true
			p.heard(rest)
		}
	}
	p.confirmed(frame)
	switch {
	case push || p.pl.lies || p.anything:
	case p.pl.dies:
		p.inOrder(frame)
	case len(p.want) == 0:
		p.pl.faultf("client %d reads %.200q too much", p.who, frame)
	default:
		w := p.want[0]
		p.want = p.want[1:]
		if frame != w.text && (w.or == "" || frame != w.or) && (w.head == "" || !strings.HasPrefix(frame, w.head)) {
			p.pl.faultf("client %d reads %.200q, want %.200q%s", p.who, frame, w.text, w.head)
		}
	}
}

// confirmed checks that no subscription is confirmed more often than it was asked
// for: what the proxy asks for by itself is not the client's to hear.
func (p *player) confirmed(frame string) {
	lines := strings.Split(frame, "\r\n")
	if p.pl.lies || len(lines) < 6 || !strings.HasSuffix(lines[2], "subscribe") || leaves(lines[2]) {
		return
	}
	what := lines[2] + " " + lines[4]
	if p.asked[what]--; p.asked[what] < 0 && !p.anything {
		p.pl.faultf("client %d reads %.100q, for which it has not asked", p.who, frame)
	}
}

// heard checks that no push is missing or twice there.
func (p *player) heard(rest string) {
	var lane, n int
	fmt.Sscanf(rest, "%d-%d", &lane, &n)
	if n != p.pushes[lane]+1 && !p.pl.lies {
		p.pl.faultf("client %d hears push %d after %d", p.who, n, p.pushes[lane])
	}
	p.pushes[lane] = n
}

// inOrder checks that replies hold what was asked for, each once and in order,
// where some may be errors instead.
func (p *player) inOrder(frame string) {
	if strings.HasPrefix(frame, ">") || strings.Contains(frame, "subscribe\r\n") {
		return
	}
	for _, line := range strings.Split(frame, "\r\n") {
		if _, is := ownerOf(line); !is {
			continue
		}
		digits := line[strings.IndexByte(line, '-')+1:]
		if end := strings.IndexFunc(digits, func(c rune) bool { return c < '0' || c > '9' }); end >= 0 {
			digits = digits[:end]
		}
		n, _ := strconv.Atoi(digits)
		if n < p.nonce || n == p.nonce && !strings.HasSuffix(line, "v") {
			p.pl.faultf("client %d reads %.100q after %d", p.who, line, p.nonce)
		}
		p.nonce = n
	}
}

// settle lets everything come to its end, and looks what is left.
func (pl *play) settle() {
	pl.settling = true
	for range 200 {
		if pl.fault != "" {
			return
		}
		for _, p := range pl.players {
			p.feed(1 << 20)
		}
		pl.flush(true)
		busy := len(pl.st.posted) > 0
		for _, ln := range slices.Clone(pl.lanes) {
			if ln.pipe == nil || ln.gone {
				continue
			}
			if ln.link == nil {
				ln.attach()
				busy = true
			}
			busy = busy || len(ln.todo) > 0 || len(ln.out) > 0 && !ln.link.paused || len(ln.link.out) > 0
			for len(ln.todo) > 0 && !ln.gone {
				ln.work(false)
			}
			ln.deliver(1 << 20)
			pl.sweep()
		}
		for _, p := range pl.players {
			busy = busy || !p.left && (p.s.relistens() || len(p.door.out) > 0 || p.door.again || len(p.backlog) > 0 && !p.door.paused && !p.door.closing && !p.hungUp)
		}
		if !busy {
			break
		}
	}
	for _, p := range pl.players {
		p.complete()
		p.listening()
	}
	for _, p := range pl.players {
		pl.leave(p, nil)
	}
	pl.sweep()
	pl.leaks()
}

// complete checks that a client has everything it was to get.
func (p *player) complete() {
	s := p.s
	if p.pl.dies || p.anything {
		return
	}
	if p.door.closing && !p.hungUp && !p.over {
		p.pl.faultf("client %d was closed (%v) without a reason", p.who, s.reason)
	}
	if p.fled {
		return // it read what it read
	}
	for _, w := range p.want {
		if w.end <= p.sent && !p.blockedBy(w) {
			p.pl.faultf("client %d never got %.100q%s; its session has %d calls owed, %d bytes to serve, ended %v, finishing %v, eof %v, waiting %v, held %q, muted %v, apart %+v",
				p.who, w.text, w.head, s.slots.len(), s.reader.Buffered(), s.ended, s.finishing, s.eof, s.waiting, s.held, s.slots.mute, s.apart)
			return
		}
	}
	if p.hungUp && !p.door.closing {
		p.pl.faultf("client %d hung up and is kept", p.who)
	}
	if n := s.slots; n.len() != 0 || n.n != 0 || n.held != 0 || n.owed != 0 {
		if !p.hungUp {
			p.pl.faultf("client %d still has slots %+v", p.who, n)
		}
	}
	if len(p.backlog) > 0 && !p.hungUp && !p.door.closing {
		p.pl.faultf("client %d is not read any more", p.who)
	}
}

// listening checks that what the session is subscribed to by its own account is
// what the node has, also where it had to subscribe again.
func (p *player) listening() {
	s := p.s
	if p.pl.lies || p.left || s.ended || s.apart == nil || s.apart.why&whySubscribed == 0 || s.inTurn() {
		return
	}
	if s.relistens() {
		p.pl.faultf("client %d still waits to be subscribed again", p.who)
		return
	}
	at := slices.IndexFunc(p.pl.lanes, func(ln *lane) bool { return ln.own != nil && ln.own == s.apart.own })
	if at < 0 {
		p.pl.faultf("client %d is subscribed and has no connection", p.who)
		return
	}
	for f, names := range s.apart.subs.names {
		if have := p.pl.lanes[at].subs[f]; len(have) != len(names) {
			p.pl.faultf("client %d is subscribed to %v, and the node has %v", p.who, names, have)
		}
	}
}

// blockedBy reports that a reply may be missing, as its client hung up while a
// call waited.
func (p *player) blockedBy(w owed) bool {
	if !p.hungUp {
		return false
	}
	return slices.ContainsFunc(p.waits, func(end int) bool { return end <= w.end })
}

// leaks looks for what nobody has any more.
func (pl *play) leaks() {
	for _, ln := range pl.lanes {
		switch {
		case ln.own != nil && len(ln.todo) == 0 && ln.link != nil && len(ln.out) == 0 && !ln.lied:
			pl.faultf("an own connection outlived its session")
		case ln.own == nil && ln.pipe != nil && !ln.gone && !ln.lied && ln.link != nil && len(ln.todo)+len(ln.out)+len(ln.link.out) == 0 && ln.pipe.Outstanding() != 0:
			pl.faultf("%d calls are owed replies that will not come", ln.pipe.Outstanding())
		}
	}
	if kept := pl.st.w.srv.kept.Load(); kept != 0 {
		pl.faultf("%d bytes are still counted as kept", kept)
	}
	if pl.st.w.sessions != nil {
		pl.faultf("a session is still on its worker's list")
		pl.st.w.sessions = nil
	}
}
