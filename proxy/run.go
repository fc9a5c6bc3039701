package proxy

import (
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/metrics"
	"github.com/sallyport/sallyport/proxy/resp"
)

// Nearly all of a pipeline's calls are of one kind: shared, allowed, with nothing to
// record. A run is as many of them as follow each other. What is the same for
// all of them is looked at once: the state of the session before, the queues behind.
// Each call is still parsed and judged by itself, and encoded as it was judged.

// unhindered reports that nothing in the session's state has a say in where its
// next ordinary calls go, or whether.
func (s *session) unhindered() bool {
	return s.user != nil && s.apart == nil && s.router == nil && s.routes == nil && s.reads == nil && s.names == nil && s.held == nil && s.pour == nil &&
		s.pace.share == nil && !s.pace.alone && s.pipe != nil && s.pipe.Open()
}

// run serves ordinary calls, of a session that is fed and unhindered, up to one that is not ordinary, which it gives,
// untouched. It reports false when there was no room for more; otherwise nil means that no call is whole.
func (s *session) run() (args [][]byte, more bool, err error) {
	w, call := s.w, &s.call
	user, policy, table := s.user, w.policy, w.table
	room, bytes := s.window()
	room = min(room, int(s.pace.turn-s.commands))
	out, n, size := s.pipe.Output(), 0, 0
	for more = true; ; {
		if n >= room || size >= bytes {
			args, more = nil, false
			break
		}
		args, err = s.reader.Next()
		if args == nil || table.Parse(args, call) != nil || call.Class != command.Shared || s.reader.Size() > bigRequest {
			break
		}
		rule, ok := policy.Passes(user, call)
		if !ok || w.watched != nil && w.watches(call) {
			break
		}
		w.hit(rule)
		out = resp.AppendCommand(out, args)
		size += wireSize(args)
		n++
	}
	if n > 0 {
		s.commands += uint64(n)
		w.count.Command(uint8(command.Shared), metrics.Allowed, uint64(n))
		s.pipe.SendRun(s, s.slots.next, s.at, uint64(n), out)
		s.slots.pushRun(s.pipe, n, size, s.at)
	}
	return args, more, err
}
