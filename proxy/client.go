package proxy

import (
	"bytes"
	"fmt"

	"github.com/sallyport/sallyport/proxy/resp"
)

// client answers the CLIENT family. Ids are ours and the backend's connections
// never show. own narrows LIST and KILL to the sessions of the caller's user.
func (s *session) client(args [][]byte, own bool) {
	b := s.w.scratch[:0]
	switch s.call.Spec.Name {
	case "client|id":
		s.emit(resp.AppendInt(b, int64(s.facts.id)))
	case "client|getname":
		if s.name == nil {
			s.emit(resp.AppendNull(b, s.proto))
			break
		}
		s.emit(resp.AppendBulk(b, s.name))
	case "client|setname":
		if !validName(args[2]) {
			s.fail(errClientName)
			break
		}
		s.rename(args[2])
		s.ok()
	case "client|setinfo":
		s.setInfo(args[2], args[3])
	case "client|info":
		s.emit(resp.AppendVerbatim(b, s.proto, s.listing()))
	case "client|list":
		s.clientList(args, own)
	case "client|kill":
		s.clientKill(args, own)
	case "client|help":
		s.help(clientHelp)
	default:
		s.modesCall(args, own)
	}
}

// rename names the session; an empty name is none.
func (s *session) rename(name []byte) {
	if s.name = bytes.Clone(name); len(name) == 0 {
		s.name = nil
	}
}

// setInfo is CLIENT SETINFO LIB-NAME|LIB-VER value.
func (s *session) setInfo(attribute, value []byte) {
	var to *[]byte
	switch {
	case fold(attribute, "lib-name"):
		to = &s.libName
	case fold(attribute, "lib-ver"):
		to = &s.libVer
	default:
		s.fail("ERR Unrecognized option '" + excerpt(attribute) + "'")
		return
	}
	if !validName(value) {
		s.fail("ERR " + string(bytes.ToLower(attribute)) + " cannot contain spaces, newlines or special characters.")
		return
	}
	*to = bytes.Clone(value)
	s.ok()
}

// listing is the session's line of CLIENT LIST, in Redis's form.
func (s *session) listing() string {
	now := s.w.now()
	user := "(none)"
	if s.user != nil {
		user = s.user.Name()
	}
	last := "NULL"
	if s.call.Spec != nil {
		last = s.call.Spec.Name
	}
	a, multi, watched, redirect := s.apart, -1, int32(0), int64(-1)
	if a == nil {
		a = &apart{}
	}
	if a.txn != nil {
		multi = len(a.txn.calls)
	}
	if a.why&whyWatch != 0 {
		watched = a.track.watched
	}
	if a.why&whyTracking != 0 && a.track.redirect != 0 {
		redirect = a.track.redirect
	}
	return fmt.Sprintf("id=%d addr=%s laddr=%s name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=%d ssub=%d multi=%d watch=%d qbuf=%d obl=%d events=r cmd=%s user=%s redir=%d resp=%d lib-name=%s lib-ver=%s\n",
		s.facts.id, s.facts.remote, s.facts.local, s.name, int64(now.Sub(s.began).Seconds()), int64(now.Sub(s.active).Seconds()),
		s.markers(), s.db, a.subs.count(bySubscribe), a.subs.count(byPsubscribe), a.subs.count(bySsubscribe), multi, watched,
		s.reader.Buffered(), s.port.Unsent(), last, user, redirect, s.proto, s.libName, s.libVer)
}
