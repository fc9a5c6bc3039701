package proxy

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/resp"
)

const (
	aclLogEntries = 128              // kept at most, as Redis's acllog-max-len
	aclLogDefault = 10               // shown when no number is asked for
	aclLogLooks   = 10               // an event folds into one of so many newest entries
	aclLogFold    = 60 * time.Second // that is not older than this
	aclLogText    = 1024             // bytes kept of what a client chose
)

// denial is a value of the reason field of ACL LOG.
type denial uint8

const (
	deniedAuth denial = iota
	deniedCommand
	deniedKey
	deniedChannel
	denials
)

var denialNames = [denials]string{"auth", "command", "key", "channel"}

// aclLog is what ACL LOG shows of a process: who was denied what, newest first,
// equal events of a minute folded into one. All loops write to it, so it has a
// lock; only denials come here. Safe for concurrent use.
type aclLog struct {
	mu      sync.Mutex
	entries []*aclLogEntry // newest first
	next    uint64         // id of the next entry
	counts  [denials]uint64
}

type aclLogEntry struct {
	id       uint64
	count    int64
	why      denial
	multi    bool   // within a transaction
	object   string // the command, key or channel, or the word AUTH
	user     string // who was denied, or the name tried
	client   string // the client's line of CLIENT LIST
	created  time.Time
	modified time.Time
}

// add notes a denial. client is called only if the event is kept.
func (l *aclLog) add(now time.Time, why denial, multi bool, object, user string, client func() string) {
	object, user = clip(object), clip(user)
	line := strings.Clone(clip(client()))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[why]++
	for i, e := range l.entries[:min(len(l.entries), aclLogLooks)] {
		if e.why != why || e.multi != multi || e.object != object || e.user != user || now.Sub(e.modified).Abs() > aclLogFold {
			continue
		}
		e.count++
		e.modified, e.client = now, line
		copy(l.entries[1:i+1], l.entries[:i])
		l.entries[0] = e
		return
	}
	e := &aclLogEntry{
		id: l.next, count: 1, why: why, multi: multi, object: strings.Clone(object), user: strings.Clone(user), client: line,
		created: now, modified: now,
	}
	l.next++
	if len(l.entries) == aclLogEntries {
		l.entries = l.entries[:aclLogEntries-1]
	}
	l.entries = slices.Insert(l.entries, 0, e)
}

// clip bounds what a client can make the log keep.
func clip(s string) string { return s[:min(len(s), aclLogText)] }

// newest copies at most n entries.
func (l *aclLog) newest(n int) []aclLogEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]aclLogEntry, min(n, len(l.entries)))
	for i := range list {
		list[i] = *l.entries[i]
	}
	return list
}

// clear forgets the entries; ids go on.
func (l *aclLog) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = nil
}

// denied gives the number of denials since the start, folded ones too.
func (l *aclLog) denied() [denials]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// logDenied notes a call that the policy refused. What is not the policy's to
// say, and the options of SORT, Redis does not log either.
func (s *session) logDenied(reason acl.Reason, d acl.Decision) {
	if s.user == nil || s.call.Spec == nil || d.Option != "" {
		return
	}
	why, object := deniedCommand, s.call.Spec.Name
	switch reason {
	case acl.CommandNotAllowed, acl.Guarded, acl.Never, acl.KeyspaceWide, acl.ScriptConfined, acl.CommandRefused:
	case acl.KeyNotAllowed, acl.ChannelNotAllowed, acl.TTLRequired:
		if d.Arg <= 0 || d.Arg >= len(s.call.Args) {
			return
		}
		object = string(cut(s.call.Args[d.Arg], aclLogText))
		if why = deniedKey; reason == acl.ChannelNotAllowed {
			why = deniedChannel
		}
	default:
		return
	}
	s.w.srv.aclLog.add(s.w.now(), why, s.inMulti(), object, s.user.Name(), s.clientInfo)
}

// logFailedAuth notes a failed AUTH or HELLO for the name that was tried.
// Certificates that fit nobody are no denial: the client may still log in.
func (s *session) logFailedAuth(method acl.Method, user string) {
	if method != acl.MethodPassword && method != acl.MethodToken || s.call.Spec == nil {
		return
	}
	s.w.srv.aclLog.add(s.w.now(), deniedAuth, false, strings.ToUpper(s.call.Spec.Name), user, s.clientInfo)
}

// clientInfo is the session's line of CLIENT LIST without its end.
func (s *session) clientInfo() string { return strings.TrimSuffix(s.listing(), "\n") }

// aclLogCommand is ACL LOG [count | RESET].
func (s *session) aclLogCommand(args [][]byte) {
	n := int64(aclLogDefault)
	switch {
	case len(args) > 3:
		s.aclSyntax(args)
		return
	case len(args) == 3 && fold(args[2], "reset"):
		s.w.srv.aclLog.clear()
		s.ok()
		return
	case len(args) == 3:
		var ok bool
		if n, ok = integer(args[2]); !ok {
			s.fail(errNotInteger)
			return
		}
	}
	entries := s.w.srv.aclLog.newest(int(min(max(n, 0), aclLogEntries)))
	b := resp.AppendArray(s.w.scratch[:0], len(entries))
	for i := range entries {
		b = s.appendLogEntry(b, &entries[i])
	}
	s.emit(b)
}

func (s *session) appendLogEntry(b []byte, e *aclLogEntry) []byte {
	b = resp.AppendMap(b, s.proto, 10)
	b = resp.AppendInt(resp.AppendBulkString(b, "count"), e.count)
	b = appendPair(b, "reason", denialNames[e.why])
	context := "toplevel"
	if e.multi {
		context = "multi"
	}
	b = appendPair(b, "context", context)
	b = appendPair(b, "object", e.object)
	b = appendPair(b, "username", e.user)
	age := max(0, s.w.now().Sub(e.modified)).Milliseconds()
	b = resp.AppendDouble(resp.AppendBulkString(b, "age-seconds"), s.proto, float64(age)/1000)
	b = appendPair(b, "client-info", e.client)
	b = resp.AppendInt(resp.AppendBulkString(b, "entry-id"), int64(e.id))
	b = resp.AppendInt(resp.AppendBulkString(b, "timestamp-created"), e.created.UnixMilli())
	return resp.AppendInt(resp.AppendBulkString(b, "timestamp-last-updated"), e.modified.UnixMilli())
}
