package proxy

import (
	"math/rand/v2"

	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/backend"
)

// Calls that only read may go to replicas. Where a session has a connection of its
// own, or a transaction, they stay with the primary: what it watches, waits for or
// was told of is there.

// seatAt gives a session its place among those who read from a backend.
func (s *session) seatAt(p *backend.Pool) {
	if s.reads = p.Reads(); s.reads != nil && s.seat == 0 {
		s.seat = rand.Uint64() | 1
	}
}

// spreads reports whether the call being served may be read from a replica of the
// backend that it is for.
func (s *session) spreads() bool {
	return s.reads != nil && s.apart == nil && s.reads.Of() == s.facts.backend && s.call.Spreads()
}

// readFrom sends a call to whoever is fit to be read from. Not taken: it is for
// the primary.
func (s *session) readFrom(to backend.Caller, tag uint64, shard int, args [][]byte) (taken bool, f backend.Failure) {
	return s.reads.Send(backend.Read{
		To: to, Tag: tag, At: s.at, Key: s.key(),
		Shard: shard, KeyAt: int(s.call.Keys[0].Arg), Seat: s.seat,
	}, args)
}

// read is forward for a call to a primary with replicas, if it need not go to the
// primary.
func (s *session) read(args [][]byte) bool {
	taken, f := s.readFrom(s, s.slots.next, 0, args)
	switch {
	case !taken:
		return false
	case f != 0:
		s.w.count.Command(uint8(command.Shared), s.decision, 1)
		s.emit(failureText(f))
	default:
		s.w.count.Command(uint8(command.Shared), s.decision, 1)
		s.slots.alone(routed, wireSize(args), s.at)
	}
	return true
}

// congested reports that a node takes this session's calls too slowly.
func (s *session) congested() bool {
	return s.pipe != nil && s.pipe.Congested() || s.router != nil && s.router.Congested() || s.reads != nil && s.reads.Congested() ||
		s.routes != nil && s.behindCongested()
}

// readCounted counts a call that could be read from a replica.
func (w *worker) readCounted(replica bool) {
	role := metrics.ReadPrimary
	if replica {
		role = metrics.ReadReplica
	}
	w.count.Read(role)
}
