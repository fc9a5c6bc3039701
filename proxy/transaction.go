package proxy

import (
	"bytes"
	"strings"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/resp"
)

// A transaction is held here and leaves as one block at EXEC, over a connection
// of the session's own: what a client queues and then abandons costs the node
// nothing, and each call is judged again at the moment it runs. WATCH alone goes
// out at once, since the node has to notice what changes meanwhile.

// transaction is what was queued since MULTI.
type transaction struct {
	calls   [][][]byte
	bytes   int
	dirty   bool // a call was refused: EXEC will be, too
	tainted bool // holds a call that may leave something on the connection
	selects []selection
	outcome *outcome // of EXEC, where there are selects
	moved   bool     // one of the selects was carried out
	db      int      // by that one

	names   *command.Names // by which its calls were read
	unheard error          // one of them is called otherwise now, or nothing
	asked   [][]byte       // that one, as its client called it

	at       spot   // over several nodes: of the keys
	apart    bool   // which lie apart
	writes   bool   // it may write to them
	asking   bool   // the node is about to get their slot
	begun    bool   // it has left, or may have, in part
	homeless bool   // something was queued while it was not known where anything is
	astray   []byte // what the node said of a call that belongs elsewhere

	side   int  // over several backends: whose its keys are
	placed bool // side is known
	torn   bool // they are of several
	wrote  bool // it may write
}

// selection is a SELECT within a transaction.
type selection struct{ call, db int }

const (
	errNotInMulti   = "ERR Command not allowed inside a transaction"
	errNested       = "ERR MULTI calls can not be nested"
	errWatchInMulti = "ERR WATCH inside MULTI is not allowed"
	errExecNoMulti  = "ERR EXEC without MULTI"
	errDiscardAlone = "ERR DISCARD without MULTI"
	errExecAbort    = "EXECABORT Transaction discarded because of previous errors."
	errExecRefused  = "EXECABORT Transaction discarded because of: "
	errTooLarge     = "ERR the transaction is larger than this proxy holds"
)

// What a transaction may hold, whatever the memory limit says.
const (
	maxTransactionBytes = 64 << 20
	maxTransactionCalls = 1 << 16 // they are judged and sent in one turn
)

var (
	multiCall = [][]byte{[]byte("MULTI")}
	execCall  = [][]byte{[]byte("EXEC")}
)

func (s *session) multi() {
	if s.inMulti() {
		s.fail(errNested)
		return
	}
	s.aside().txn = &transaction{names: s.names}
	s.ok()
}

func (s *session) inMulti() bool { return s.apart != nil && s.apart.txn != nil }

// taint marks a transaction whose EXEC must fail, as Redis does at each refusal.
func (s *session) taint() {
	if s.inMulti() {
		s.apart.txn.dirty = true
	}
}

// abort is what EXEC answers that was refused itself: the transaction is over.
func (s *session) abort(text string) string {
	if s.inMulti() && s.slots.len() == 0 {
		s.endTransaction()
	}
	return errExecRefused + strings.TrimPrefix(text, "ERR ")
}

// queue keeps a call for EXEC. It reports false for those that act at once.
func (s *session) queue(args [][]byte) bool {
	call, t := &s.call, s.apart.txn
	switch name := call.Spec.Name; {
	case name == "exec", name == "discard", name == "multi", name == "watch", name == "quit", name == "reset":
		return false
	case name == "select":
		if !s.queueSelect(args) {
			return true
		}
	case name == "ping", name == "echo", name == "unwatch":
	case name == "wait", name == "waitaof":
		t.tainted = true
	case call.Class == command.Local, call.Spec.Flags&(command.FlagPubsub|command.FlagNoMulti) != 0 && call.Class == command.Pinned, outOfPlace[name]:
		t.dirty = true
		s.fail(errNotInMulti)
		return true
	case call.Class == command.Pinned && call.Spec.Flags&(command.FlagLeavesNothing|command.FlagBlocking) == 0:
		t.tainted = true
	}
	if s.routes != nil && !s.queueSide() {
		return true
	}
	if s.router != nil && !s.queuePlace(args) {
		return true
	}
	s.requeued(t)
	if t.dirty { // it can't run any more: there is no need to keep it
		s.emit(replyQueued)
		return true
	}
	size := keptSize(args)
	if t.bytes+size > maxTransactionBytes || len(t.calls) >= maxTransactionCalls {
		t.dirty, t.calls, t.bytes = true, nil, 0
		s.fail(errTooLarge)
		return true
	}
	t.bytes += size
	t.calls = append(t.calls, copiedArgs(args))
	s.w.count.Command(uint8(call.Class), s.decision, 1)
	s.emit(replyQueued)
	return true
}

var replyQueued = resp.AppendSimple(nil, "QUEUED")

// outOfPlace are calls that make no sense within a transaction sent as a block.
var outOfPlace = map[string]bool{
	"monitor": true, "readonly": true, "readwrite": true, "asking": true, "script|debug": true,
	"himport": true, "himport|prepare": true, "himport|set": true, "himport|discard": true, "himport|discardall": true,
}

// queueSelect notes where SELECT within a transaction leads: the session follows
// once EXEC has run. It reports false if the call was answered with an error.
func (s *session) queueSelect(args [][]byte) bool {
	n, ok := integer(args[1])
	if !ok || n < 0 || n > maxDatabase {
		s.apart.txn.dirty = true
		s.fail(errDBRange)
		return false
	}
	switch {
	case s.routes != nil:
		if n != 0 && s.routes.clustered() {
			s.apart.txn.dirty = true
			s.fail(errNoDatabases)
			return false
		}
	case s.router != nil && s.router.Clustered():
		return true // its node answers, and stays where it is
	}
	if t := s.apart.txn; !t.dirty {
		t.selects = append(t.selects, selection{len(t.calls), int(n)})
	}
	return true
}

// maxDatabase is the largest number a SELECT may name: SELECT reads 32 bits.
const maxDatabase = 1<<31 - 1

// outcome follows EXEC's reply element by element.
type outcome struct {
	begun  bool // the array's head is over
	framer resp.Framer
	n      int // elements that are over
}

// heard takes a piece of EXEC's reply. A SELECT within has led somewhere only if
// the node answered that one without an error.
func (t *transaction) heard(p []byte, proto int) {
	if len(t.selects) == 0 {
		return
	}
	if t.outcome == nil {
		t.outcome = &outcome{}
		t.outcome.framer.Reset(proto)
	}
	o := t.outcome
	if !o.begun {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			return
		}
		o.begun, p = true, p[i+1:]
	}
	for len(p) > 0 && len(t.selects) > 0 {
		n, done, err := o.framer.Next(p)
		if err != nil {
			return
		}
		p = p[n:]
		if !done {
			continue
		}
		if sel := t.selects[0]; sel.call == o.n {
			if t.selects = t.selects[1:]; o.framer.Kind() == '+' {
				t.moved, t.db = true, sel.db
			}
		}
		o.n++
	}
}

// keptSize is about what a queued call costs in memory: its bytes, its
// arguments' places in it, and its own among the calls.
func keptSize(args [][]byte) int {
	n := 64
	for _, a := range args {
		n += len(a) + argCost
	}
	return n
}

// copiedArgs copies a call's arguments into one piece of memory.
func copiedArgs(args [][]byte) [][]byte {
	n := 0
	for _, a := range args {
		n += len(a)
	}
	all := make([]byte, 0, n)
	copies := make([][]byte, len(args))
	for i, a := range args {
		from := len(all)
		all = append(all, a...)
		copies[i] = all[from:len(all):len(all)]
	}
	return copies
}

// discard is DISCARD: nothing of the transaction has been sent.
func (s *session) discard() {
	if !s.inMulti() {
		s.fail(errDiscardAlone)
		return
	}
	s.endTransaction()
	s.ok()
}

// endTransaction forgets what was queued, and what was watched for it.
func (s *session) endTransaction() {
	a := s.apart
	a.txn = nil
	if a.why&whyWatch != 0 {
		a.why &^= whyWatch
		s.unwatchAside()
	}
	s.settled()
}

// exec is EXEC: everything queued is judged anew and sent as one block.
func (s *session) exec() {
	if !s.inMulti() {
		s.fail(errExecNoMulti)
		return
	}
	t := s.apart.txn
	if t.dirty {
		s.endTransaction()
		s.fail(errExecAbort)
		return
	}
	if text := s.rejudge(t); text != "" {
		s.endTransaction()
		s.fail(errExecRefused + strings.TrimPrefix(text, "ERR "))
		return
	}
	if s.routes != nil && !s.execSide(t) {
		return
	}
	if !s.aimBlock(t) {
		return
	}
	if f := s.have(); f != 0 {
		call := s.call
		s.w.table.Parse(execCall, &s.call)
		if s.adrift(turnExec, execCall, 1) {
			s.apart.tainted = t.tainted || len(t.selects) > 0
			return
		}
		s.call = call
		s.endTransaction()
		s.declined(f)
		return
	}
	if f := s.sendBlock(t); f != 0 {
		s.undone(f)
		return
	}
	s.w.table.Parse(execCall, &s.call)
	s.alone(turnExec, execCall)
	s.apart.tainted = s.apart.tainted || t.tainted || len(t.selects) > 0
	if s.apart.turn.kind != turnExec {
		s.apart.txn = nil // it could not be sent
		return
	}
	if s.router == nil { // else it may have to be sent to another node
		t.calls = nil // their bytes count until EXEC is answered: they are on their way
	}
}

// sendBlock sends all of a transaction but its EXEC. If part of it was not taken,
// what was must not run: the caller closes the connection.
func (s *session) sendBlock(t *transaction) backend.Failure {
	var ears backend.Waiter = unheard{}
	if s.router != nil {
		ears = &scout{t: t}
	}
	if t.asking {
		if f := s.pipe.Send(unheard{}, 0, s.at, askingCall); f != 0 {
			return f
		}
	}
	if f := s.pipe.Send(&opener{own: s.apart.own, t: t}, 0, s.at, multiCall); f != 0 {
		return f
	}
	for i, args := range t.calls {
		if f := s.pipe.Send(ears, uint64(i)+1, s.at, args); f != 0 {
			return f
		}
	}
	return 0
}

// undone ends a transaction that could not be sent as a whole. The connection
// goes with what it had taken of it, and with it whatever else it was for.
func (s *session) undone(f backend.Failure) {
	a := s.apart
	a.txn = nil
	s.leaveOwn()
	s.declined(f)
	if a.why &^= whyWatch; a.why != 0 {
		s.end(audit.CloseBackendLost)
		return
	}
	s.settled()
}

// opener waits for the node's word on MULTI. Where it says no, what follows would
// run call by call: the connection ends, and the client is told that it may have.
type opener struct {
	own *backend.Own
	t   *transaction
}

func (o *opener) Reply(_ uint64, _ int, p []byte, _ bool) {
	if len(p) > 0 && p[0] == '-' {
		o.own.Close()
	}
}

func (o *opener) Fail(_ uint64, f backend.Failure) { o.t.begun = o.t.begun || f == backend.Lost }

// rejudge holds what is queued against the names and the policy now in force. It
// gives the reason against it, as the client would have read it.
func (s *session) rejudge(t *transaction) string {
	if s.requeued(t); t.unheard != nil {
		reason := faultReason(t.unheard)
		s.unheardOf(t.asked)
		s.noteRefusal(reason, acl.Decision{})
		return s.refusalText(reason, t.asked, acl.Decision{})
	}
	for _, args := range t.calls {
		reason, d := acl.None, acl.Decision{}
		if err := s.w.table.Parse(args, &s.call); err != nil {
			reason = faultReason(err)
		} else if d = s.w.policy.Decide(s.user, &s.call); !d.Allowed {
			reason = d.Reason
		}
		if reason != acl.None {
			s.noteRefusal(reason, d)
			return s.refusalText(reason, args, d)
		}
	}
	return ""
}

// executed acts on EXEC's reply.
func (s *session) executed(t *turn) {
	a := s.apart
	if txn := a.txn; txn != nil && txn.moved {
		s.db = txn.db
		if a.own != nil {
			a.own.Moved(s.db)
		}
	}
	a.txn = nil
	a.why &^= whyWatch
}

// watch is WATCH: from now on the session's calls go over one connection.
func (s *session) watch(args [][]byte) {
	if s.inMulti() {
		s.fail(errWatchInMulti)
		return
	}
	if s.alone(turnWatch, args) {
		s.apart.track.watched += int32(len(args) - 1)
	}
}

// unwatch is UNWATCH. Where nothing is watched there is nobody to tell.
func (s *session) unwatch(args [][]byte) {
	if s.apart == nil || s.apart.why&whyWatch == 0 {
		s.ok()
		return
	}
	s.alone(turnUnwatch, args)
}

// unwatchAside has the own connection forget what it watches. It becomes
// anybody's when the node has said so, unless something else binds the session to it.
func (s *session) unwatchAside() {
	a := s.apart
	own := a.own
	if own == nil {
		return
	}
	if a.why != 0 {
		own.Pipeline().Send(unheard{}, 0, s.at, unwatchCall)
		return
	}
	if a.choked {
		a.choked = false
		own.Resume()
	}
	a.own, s.pipe = nil, nil
	if a.tainted || a.waited {
		own.Close()
		return
	}
	c := &cleaner{own: own}
	own.SetOwner(c)
	own.Within(cleanWithin)
	if own.Pipeline().Send(c, 0, s.at, unwatchCall) != 0 {
		own.Close()
	}
}

// cleanWithin is how long a node may take to forget what was watched.
const cleanWithin = 2 * time.Second

var unwatchCall = [][]byte{[]byte("UNWATCH")}

// cleaner owns a connection until it has forgotten what it watched.
type cleaner struct {
	own   *backend.Own
	begun bool
	good  bool
}

func (c *cleaner) Reply(_ uint64, _ int, p []byte, last bool) {
	if !c.begun {
		c.begun, c.good = true, len(p) > 0 && p[0] == '+'
	}
	switch {
	case !last:
	case c.good:
		c.own.Give()
	default:
		c.own.Close()
	}
}

func (c *cleaner) Fail(uint64, backend.Failure) {}
func (c *cleaner) Push([]byte, bool)            { c.own.Close() }
func (c *cleaner) Lost()                        {}
