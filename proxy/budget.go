package proxy

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/audit"
)

// What clients can make the proxy hold is bounded by limits.memory: unfinished
// requests in the readers, replies waiting in slots, output the kernel has not
// taken. Over it nobody new is let in, clients that hold more than their share are
// not read, and the largest holders of all loops are closed until nine tenths are
// reached. Nodes are read on: what they answer is owed already. Nobody waits for
// memory while holding some, but for the moment until the largest are closed.

// held is the memory kept for clients now, over all loops.
func (s *Server) held() int64 {
	n := s.kept.Load()
	for _, l := range s.group.Loops() {
		n += l.BufferBytes()
	}
	return n
}

// lingering is the number of sockets that no session holds any more and that are
// still open, over all loops.
func (s *Server) lingering() int {
	n := 0
	for _, l := range s.group.Loops() {
		n += l.Lingering()
	}
	return n
}

// overfull reports whether limits.memory is exceeded.
func (s *Server) overfull() bool { return s.held() > s.memory.Load() }

// excess is how much has to go; 0 or less: nothing.
func (s *Server) excess() int64 { return s.held() - s.memory.Load()/10*9 }

// argCost is about what an argument that is kept costs besides its bytes.
const argCost = 32

// account brings what the session keeps into the sum: requests, replies, a
// transaction, subscriptions.
func (s *session) account() {
	n := int64(s.reader.Buffered()+s.slots.held) + s.gathered
	for _, a := range s.held {
		n += int64(len(a)) + argCost
	}
	if a := s.apart; a != nil {
		if n += int64(a.subs.bytes); a.again != nil && a.again.chorus != nil {
			n += int64(a.subs.bytes) // once more, to be asked for
		}
		if a.own != nil && (a.txn == nil || s.router != nil) { // else it is what the transaction counts
			n += int64(a.own.Pipeline().Early())
		}
		if a.txn != nil {
			n += int64(a.txn.bytes)
		}
	}
	if n == s.kept {
		return
	}
	grew := n > s.kept
	s.w.srv.kept.Add(n - s.kept)
	s.kept = n
	if grew && s.w.srv.overfull() {
		s.w.relieve()
	}
}

// holding is what closing the session would free.
func (s *session) holding() int64 { return s.kept + int64(s.port.Unsent()) }

// leastShare is what a client may hold however many there are.
const leastShare = 64 << 10

// overShare reports whether the session holds so much, with memory short, that it
// is not to be read: more than there would be for each with all places taken.
func (s *session) overShare() bool {
	return s.holding() > max(leastShare, s.w.srv.memory.Load()/int64(s.w.limits.Connections)) && s.w.srv.overfull()
}

// strainTime is how often it is looked whether there is memory again.
const strainTime = 10 * time.Millisecond

// strain has those who are not read for want of memory looked at again soon.
func (w *worker) strain() {
	if w.strained {
		return
	}
	w.strained = true
	w.arm(&w.straits, strainTime, func() {
		w.strained = false
		if w.srv.overfull() {
			w.relieve()
			w.strain()
			return
		}
		for s := w.sessions; s != nil; s = s.next {
			if s.pace.strained {
				s.resume()
			}
		}
	})
}

// relieve sees to it that the largest holders are closed. It does so once a turn:
// what was closed is counted out at its edge.
func (w *worker) relieve() {
	now := w.now()
	if now.Equal(w.relieved) {
		return
	}
	w.relieved = now
	w.srv.relief.begin(w.srv, now)
}

// relief finds the largest holders over all loops. There is one search at a time:
// each loop reports its largest, and the last one to do so decides.
type relief struct {
	began atomic.Int64 // when the search under way began, Unix ns; 0: there is none
}

// reliefTime is after how long a search is given up that a loop did not answer.
const reliefTime = time.Second

// search is one look for the largest holders.
type search struct {
	srv     *Server
	began   int64
	missing atomic.Int32 // loops that have not reported, or not closed what they were told to

	mu      sync.Mutex
	holders []holder
}

type holder struct {
	s       *session
	holding int64
}

// most is how many holders a loop reports, and so how many are closed in one search.
const most = 64

func (r *relief) begin(srv *Server, now time.Time) {
	at, began := now.UnixNano(), r.began.Load()
	if began != 0 && at-began < int64(reliefTime) || !r.began.CompareAndSwap(began, at) {
		return
	}
	workers := srv.everyWorker()
	if len(workers) == 0 {
		r.began.Store(0)
		return
	}
	s := &search{srv: srv, began: at}
	s.missing.Store(int32(len(workers)))
	for _, w := range workers {
		if !w.post(func() { s.report(w) }) {
			s.reported()
		}
	}
}

// report adds a loop's largest holders, on that loop.
func (s *search) report(w *worker) {
	if s.srv.overfull() {
		top := w.largest(most)
		s.mu.Lock()
		s.holders = append(s.holders, top...)
		s.mu.Unlock()
	}
	s.reported()
}

// reported notes that a loop has said what it has to say. The last one decides.
func (s *search) reported() {
	if s.missing.Add(-1) > 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.holders, func(a, b holder) int { return cmp.Compare(b.holding, a.holding) })
	excess, n := s.srv.excess(), 0
	for n < len(s.holders) && excess > 0 {
		excess -= s.holders[n].holding
		n++
	}
	if n == 0 {
		s.end()
		return
	}
	s.missing.Store(int32(n))
	for _, h := range s.holders[:n] {
		if !h.s.w.post(func() { s.close(h.s) }) {
			s.closed()
		}
	}
}

// close ends one of the largest, on its loop. The search ends a turn later, when
// what it held has been counted out.
func (s *search) close(one *session) {
	one.cutOff(audit.CloseMemoryLimit)
	if !one.w.post(s.closed) {
		s.closed()
	}
}

func (s *search) closed() {
	if s.missing.Add(-1) == 0 {
		s.end()
	}
}

func (s *search) end() { s.srv.relief.began.CompareAndSwap(s.began, 0) }

// largest gives this loop's n largest holders, in no order.
func (w *worker) largest(n int) []holder {
	var top []holder
	for s := w.sessions; s != nil; s = s.next {
		h := s.holding()
		if s.cut || h == 0 {
			continue
		}
		if len(top) < n {
			top = append(top, holder{s, h})
			continue
		}
		least := 0
		for i := range top {
			if top[i].holding < top[least].holding {
				least = i
			}
		}
		if h > top[least].holding {
			top[least] = holder{s, h}
		}
	}
	return top
}

// cutOff drops the connection with whatever it is owed, also one that has ended
// and whose last replies are still leaving.
func (s *session) cutOff(reason audit.CloseReason) {
	if s.cut {
		return
	}
	s.cut, s.ended, s.reason = true, true, reason
	s.letGo()
	s.authTimer.Stop()
	s.idleTimer.Stop()
	s.closeOwn()
	s.port.Close()
}
