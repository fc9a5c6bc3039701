package proxy

import (
	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/audit"
)

// watch has allowed calls on keys and channels of these patterns recorded, on
// every loop from its next turn on; none: nothing is watched.
func (s *Server) watch(patterns []string) {
	if s.watched.Load().Of(patterns) {
		return
	}
	globs := acl.NewGlobs(patterns)
	s.watched.Store(globs)
	s.each(func(w *worker) { w.watched = globs })
}

// watches says that a call names a key or channel that is on the list.
func (w *worker) watches(call *command.Call) bool {
	if w.watched == nil {
		return false
	}
	for i := range call.Keys {
		if n := int(call.Keys[i].Arg); n < len(call.Args) && w.watched.Match(call.Args[n]) {
			return true
		}
	}
	for i := range call.Channels {
		if n := int(call.Channels[i].Arg); n < len(call.Args) && w.watched.Match(call.Args[n]) {
			return true
		}
	}
	return false
}

// named gives the keys and channels that the command's own specification finds
// in the call, and no other argument. They hold until the next call.
func (w *worker) named(call *command.Call) [][]byte {
	w.names = w.names[:0]
	for i := range call.Keys {
		if n := int(call.Keys[i].Arg); n < len(call.Args) {
			w.names = append(w.names, call.Args[n])
		}
	}
	for i := range call.Channels {
		if n := int(call.Channels[i].Arg); n < len(call.Args) {
			w.names = append(w.names, call.Args[n])
		}
	}
	return w.names
}

// accessEvent records an allowed call with all keys it names.
func (s *session) accessEvent(d acl.Decision) {
	e := s.event(audit.Access)
	s.describe(&e, d)
	e.Keys = s.w.named(&s.call)
	s.w.recorder.Record(&e)
	clear(s.w.names) // of many keys, none is held on to
}
