package redistest

import "sync"

// mailbox is an unbounded queue between a fake node's reader and its answerer, so that a gated answer never keeps the
// node from reading what a pipeline sends behind it.
type mailbox struct {
	mu     sync.Mutex
	filled *sync.Cond
	items  []Request
	closed bool
}

func newMailbox() *mailbox {
	m := &mailbox{}
	m.filled = sync.NewCond(&m.mu)
	return m
}

func (m *mailbox) put(r Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items = append(m.items, r)
	m.filled.Signal()
}

// close ends the queue; what was put before is still taken.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.filled.Signal()
}

// take waits for the next request; false means closed and empty.
func (m *mailbox) take() (Request, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.items) == 0 {
		if m.closed {
			return Request{}, false
		}
		m.filled.Wait()
	}
	r := m.items[0]
	m.items = m.items[1:]
	return r, true
}
