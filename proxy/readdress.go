package proxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/sallyport/sallyport/proxy/audit"
	"go.uber.org/zap"
)

// plan is how the listeners of a reload come about: all that can fail has been
// done, and nothing that anybody outside could see has changed.
type plan struct {
	listeners []*listener // in the configuration's order
	kept      []kept
	fresh     []*listener // on sockets of their own, bound and not accepting
	heirs     []*listener // on sockets of listeners that go, or were otherwise
	gone      []*listener
}

// kept is a listener that goes on, with sessions and all.
type kept struct {
	listener *listener
	option   int
}

// plan finds out what becomes of each listener, and binds new addresses. On an
// error nothing stays bound.
func (s *Server) plan(now []*listener, to []ListenerOptions) (*plan, error) {
	p := &plan{listeners: make([]*listener, len(to))}
	taken := make(map[*socket]bool)
	numbers := make([]int, len(to))
	for i := range to {
		var err error
		if numbers[i], err = s.metrics.Listener(to[i].Name); err != nil {
			return nil, err
		}
	}
	for i := range to { // by name first: of several on port 0 each keeps its own
		o := &to[i]
		old := named(now, o.Name)
		if old == nil {
			continue
		}
		if was := old.tls.Load(); was != nil && o.TLS != nil {
			if err := o.TLS.Succeeds(was); err != nil {
				return nil, fmt.Errorf("listener %s: %w", o.Name, err)
			}
		}
		switch {
		case !old.opts.sameAddress(o):
			continue
		case old.opts.Backend == o.Backend && old.opts.Routes.Same(o.Routes) && (old.opts.TLS == nil) == (o.TLS == nil):
			p.listeners[i] = old
			p.kept = append(p.kept, kept{old, i})
		default:
			p.listeners[i] = newListener(*o, numbers[i], old.at)
			p.heirs = append(p.heirs, p.listeners[i])
		}
		taken[old.at] = true
	}
	for i := range to {
		if p.listeners[i] != nil {
			continue
		}
		l, heir, err := p.place(now, &to[i], numbers[i], taken)
		if err != nil {
			p.abandon()
			return nil, fmt.Errorf("listener %s: %w", to[i].Name, err)
		}
		if p.listeners[i] = l; heir {
			p.heirs = append(p.heirs, l)
		} else {
			p.fresh = append(p.fresh, l)
		}
	}
	for _, l := range now {
		if !slices.Contains(p.listeners, l) {
			p.gone = append(p.gone, l)
		}
	}
	return p, nil
}

// place finds a listener its socket: that of one that goes, or a new one.
func (p *plan) place(now []*listener, o *ListenerOptions, number int, taken map[*socket]bool) (l *listener, heir bool, err error) {
	for _, old := range now {
		if !taken[old.at] && old.opts.sameAddress(o) && !o.anyPort() {
			taken[old.at] = true
			return newListener(*o, number, old.at), true, nil
		}
	}
	at, err := bind(*o)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && slices.ContainsFunc(now, func(old *listener) bool { return old.samePort(o) }):
		return nil, false, fmt.Errorf("%w: one of our own listeners has that port on another address; take it away in a reload of its own first", err)
	case err != nil:
		return nil, false, err
	}
	return newListener(*o, number, at), false, nil
}

// abandon closes what was bound for a plan that is not carried out.
func (p *plan) abandon() {
	for _, l := range p.fresh {
		l.at.close()
	}
}

func named(among []*listener, name string) *listener {
	for _, l := range among {
		if l.opts.Name == name {
			return l
		}
	}
	return nil
}

func (o *ListenerOptions) sameAddress(as *ListenerOptions) bool {
	return o.Network == as.Network && o.Address == as.Address
}

// anyPort reports an address whose port the system chooses.
func (o *ListenerOptions) anyPort() bool {
	_, port, err := net.SplitHostPort(o.Address)
	return o.Network == "tcp" && err == nil && port == "0"
}

func (l *listener) samePort(o *ListenerOptions) bool {
	_, was, err := net.SplitHostPort(l.opts.Address)
	_, is, err2 := net.SplitHostPort(o.Address)
	return l.opts.Network == "tcp" && o.Network == "tcp" && err == nil && err2 == nil && was == is
}

// renew gives a listener that goes on what may change in it. It reports whether
// whoever was let in would be let in again, as far as addresses go.
func (s *Server) renew(l *listener, o *ListenerOptions) (stays bool) {
	senders := sendersOf(o)
	stays = senders.same(l.senders.Swap(senders))
	if l.names.Swap(o.Names) != o.Names {
		s.each(func(w *worker) { w.rename(l) })
	}
	if o.Network == "unix" {
		// Its mode is a matter of the file; what it was is in the file as well.
		if info, err := os.Lstat(o.Address); err == nil && info.Mode().Perm() != o.mode() {
			if err := os.Chmod(o.Address, o.mode()); err != nil {
				s.log.Error("the socket's mode stays as it was", zap.String("listener", o.Name), zap.Error(err))
			}
		}
	}
	if o.TLS != nil {
		s.present(l, o.TLS)
	}
	return stays
}

// open carries the plan out: new ways in accept, sockets change hands, and
// what is gone ends with its sessions. A policy that knows all of them is in force.
func (s *Server) open(p *plan) {
	for _, l := range p.heirs {
		if l.opts.Network == "unix" {
			s.renew(l, &l.opts)
		}
		l.at.in.Store(l)
	}
	s.mu.Lock()
	if !s.closed {
		for _, l := range p.fresh {
			s.serve(l)
		}
	}
	s.mu.Unlock()
	for _, l := range p.gone {
		reason := audit.ClosePolicyChanged
		if to := named(p.listeners, l.opts.Name); to != nil && to.at != l.at {
			reason = audit.CloseDrain
		}
		l.left.Store(uint32(reason))
		if l.at.in.Load() == l {
			l.at.close()
		}
		s.each(func(w *worker) { w.part(l, reason) })
	}
}

// part ends the sessions of a listener that is gone. Those still on their way in
// meet its reason when they join.
func (w *worker) part(l *listener, reason audit.CloseReason) {
	w.oblige(func(s *session) {
		if s.facts.in == l {
			s.expire(reason)
		}
	})
}
