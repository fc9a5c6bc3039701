package proxy

import (
	"bytes"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/resp"
)

const (
	errSyntax       = "ERR syntax error"
	errNoSuchClient = "ERR No such client"
	errClientID     = "ERR client-id should be greater than 0"
	errBadClientID  = "ERR Invalid client ID"
)

// clientFilter picks sessions for CLIENT LIST and CLIENT KILL; what is nil or
// zero picks everybody. Addresses are compared as CLIENT LIST prints them.
type clientFilter struct {
	only   *string // sessions of this user alone, whatever else is asked
	issuer *string // with only: who vouches for the name, where the policy has no such user
	ids    []int64
	addr   *string
	laddr  *string
	user   *string
	kind   string // normal or pubsub
	skip   uint64 // an id to leave out; ids start at 1
	minAge int64  // seconds
}

func (f *clientFilter) picks(s *session) bool {
	var user *string
	if s.user != nil {
		name := s.user.Name()
		user = &name
	}
	return !s.ended && is(f.only, user) && is(f.issuer, &s.who.Issuer) && (f.ids == nil || slices.Contains(f.ids, int64(s.facts.id))) &&
		is(f.addr, &s.facts.remote) && is(f.laddr, &s.facts.local) && is(f.user, user) &&
		(f.kind == "" || f.kind == s.kind()) && s.facts.id != f.skip &&
		(f.minAge == 0 || int64(s.w.now().Sub(s.began).Seconds()) >= f.minAge)
}

// kind is what CLIENT LIST TYPE calls the session.
func (s *session) kind() string {
	if s.apart != nil && s.apart.why&whySubscribed != 0 {
		return "pubsub"
	}
	return "normal"
}

// is compares what is asked for, nil for anything, with what there is, nil for nothing.
func is(want, have *string) bool { return want == nil || have != nil && *have == *want }

// clientFilter begins a filter: one's own user's sessions alone for those whom
// the policy does not let see everybody.
func (s *session) clientFilter(own bool) clientFilter {
	if !own {
		return clientFilter{}
	}
	name := s.user.Name()
	f := clientFilter{only: &name}
	if s.w.policy.User(name) == nil {
		// A name that a token brought: another issuer's is somebody else's.
		issuer := s.who.Issuer
		f.issuer = &issuer
	}
	return f
}

// clientList is CLIENT LIST [TYPE type] [ID id …], over all loops.
func (s *session) clientList(args [][]byte, own bool) {
	f := s.clientFilter(own)
	switch {
	case len(args) == 2:
	case len(args) == 4 && fold(args[2], "type"):
		if !s.clientType(args[3], &f) {
			return
		}
	case len(args) > 3 && fold(args[2], "id"):
		f.ids = make([]int64, 0, len(args)-3)
		for _, a := range args[3:] {
			id, ok := integer(a)
			if !ok {
				s.fail(errBadClientID)
				return
			}
			f.ids = append(f.ids, id)
		}
	default:
		s.fail(errSyntax)
		return
	}
	srv := s.w.srv
	s.elsewhere(func() func() {
		var lines []clientLine
		for _, some := range tally(srv, func(*worker) *[]clientLine { return new([]clientLine) }, f.line) {
			lines = append(lines, *some...)
		}
		slices.SortFunc(lines, func(a, b clientLine) int { return int(int64(a.id) - int64(b.id)) })
		var text strings.Builder
		for _, l := range lines {
			text.WriteString(l.text)
		}
		return func() { s.emit(resp.AppendVerbatim(s.w.scratch[:0], s.proto, text.String())) }
	})
}

type clientLine struct {
	id   uint64
	text string
}

// line adds a session's line, if the filter picks it.
func (f *clientFilter) line(lines *[]clientLine, s *session) {
	if f.picks(s) {
		*lines = append(*lines, clientLine{s.facts.id, s.listing()})
	}
}

// clientType reads a TYPE. A session is a normal client, or one with subscriptions.
func (s *session) clientType(arg []byte, f *clientFilter) bool {
	switch kind := string(bytes.ToLower(arg)); kind {
	case "normal", "master", "replica", "slave", "pubsub":
		f.kind = kind
		return true
	}
	s.fail("ERR Unknown client type '" + excerpt(arg) + "'")
	return false
}

// clientKill is CLIENT KILL addr, or CLIENT KILL with filters, over all loops.
// The caller's own session ends after its reply.
func (s *session) clientKill(args [][]byte, own bool) {
	f := s.clientFilter(own)
	old := len(args) == 3
	if old {
		f.addr = copied(args[2])
	} else {
		f.skip = s.facts.id
		if !s.killFilters(args[2:], &f) {
			return
		}
	}
	srv := s.w.srv
	s.elsewhere(func() func() {
		killed := 0
		for _, n := range ask(srv, func(w *worker) int { return w.kill(&f, s) }) {
			killed += n
		}
		return func() {
			if f.picks(s) {
				killed++
				defer s.finish(audit.CloseKilled)
			}
			switch {
			case !old:
				s.emit(resp.AppendInt(s.w.scratch[:0], int64(killed)))
			case killed == 0:
				s.fail(errNoSuchClient)
			default:
				s.ok()
			}
		}
	})
}

// kill ends the sessions that a filter picks, but for the one that asks.
func (w *worker) kill(f *clientFilter, asking *session) int {
	n := 0
	for s := w.sessions; s != nil; {
		next := s.next
		if s != asking && f.picks(s) {
			s.cutOff(audit.CloseKilled)
			n++
		}
		s = next
	}
	return n
}

// killFilters reads the filters of CLIENT KILL. All of them must fit a session.
func (s *session) killFilters(args [][]byte, f *clientFilter) bool {
	for ; len(args) >= 2; args = args[2:] {
		word, value := args[0], args[1]
		switch {
		case fold(word, "id"):
			id, ok := integer(value)
			if !ok || id < 1 {
				s.fail(errClientID)
				return false
			}
			f.ids = []int64{id}
		case fold(word, "type"):
			if !s.clientType(value, f) {
				return false
			}
		case fold(word, "addr"):
			f.addr = copied(value)
		case fold(word, "laddr"):
			f.laddr = copied(value)
		case fold(word, "user"):
			// Who sees nobody but itself is not told who else there is.
			if f.only == nil && s.w.policy.User(string(value)) == nil {
				s.fail("ERR No such user '" + excerpt(value) + "'")
				return false
			}
			f.user = copied(value)
		case fold(word, "maxage"):
			age, ok := integer(value)
			if !ok {
				s.fail("ERR maxage is not an integer or out of range")
				return false
			}
			if age <= 0 {
				s.fail("ERR maxage should be greater than 0")
				return false
			}
			f.minAge = age
		case fold(word, "skipme") && fold(value, "yes"):
			f.skip = s.facts.id
		case fold(word, "skipme") && fold(value, "no"):
			f.skip = 0
		default:
			s.fail(errSyntax)
			return false
		}
	}
	if len(args) != 0 {
		s.fail(errSyntax)
		return false
	}
	return true
}

func copied(b []byte) *string {
	s := string(b)
	return &s
}

var clientHelp = []string{
	"CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
	"GETREDIR",
	"    Whom invalidations are redirected to: nobody.",
	"GETNAME",
	"    The name of this connection.",
	"ID",
	"    The number of this connection.",
	"INFO",
	"    This connection's line of LIST.",
	"KILL <ip:port>",
	"    End the connection from there.",
	"KILL <option> <value> [<option> <value> [...]]",
	"    End connections that all options fit: ID, TYPE, ADDR, LADDR, USER, MAXAGE, SKIPME.",
	"LIST [options ...]",
	"    The connections: TYPE <type>, or ID <id> [<id> ...].",
	"SETINFO <option> <value>",
	"    Say what library the client is: LIB-NAME, LIB-VER.",
	"SETNAME <name>",
	"    Name this connection.",
	"TRACKINGINFO",
	"    The state of tracking on this connection.",
	"UNBLOCK <clientid> [TIMEOUT|ERROR]",
	"    Wake a connection that a command blocks.",
}
