package backend

import "sync"

// Connections bounds the connections that not everybody shares, over all loops:
// those that one session has to itself, and those of users' own logins.
type Connections struct {
	Pinned  int // in all, clean spare ones included; 0: 1000
	PerUser int // of one account; 0: 100
	Logins  int // shared ones of users' logins, of all databases and nodes; 0: 1000
}

func (c Connections) withDefaults() Connections {
	if c.Pinned <= 0 {
		c.Pinned = 1000
	}
	if c.PerUser <= 0 {
		c.PerUser = 100
	}
	if c.Logins <= 0 {
		c.Logins = 1000
	}
	return c
}

// accounts counts connections that are some session's own. It is asked when such
// a connection begins or ends, never on the way of an ordinary call. Safe for
// concurrent use.
type accounts struct {
	limits Connections
	mu     sync.Mutex
	all    int
	by     map[string]int
}

type claim uint8

const (
	claimed claim = iota
	accountFull
	allFull
)

// claim counts one more for an account, if it may have it.
func (a *accounts) claim(account string) claim {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.by[account] >= a.limits.PerUser:
		return accountFull
	case a.all >= a.limits.Pinned:
		return allFull
	}
	if a.by == nil {
		a.by = make(map[string]int)
	}
	a.by[account]++
	a.all++
	return claimed
}

// release ends one of an account's.
func (a *accounts) release(account string) {
	a.settle(account)
	a.forget()
}

// settle takes one from an account; it goes on to exist, as nobody's.
func (a *accounts) settle(account string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by[account]--; a.by[account] <= 0 {
		delete(a.by, account)
	}
}

// forget ends one that is nobody's.
func (a *accounts) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all--
}

// now is how many there are.
func (a *accounts) now() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all
}

// Owned is the number of connections that are one session's own, spare ones included.
func (b *Backend) Owned() int { return b.owned.now() }

// ownList is a pool's own connections, the longest there first.
type ownList struct{ first, last *Own }

func (l *ownList) add(o *Own) {
	if o.prev = l.last; l.last != nil {
		l.last.next = o
	} else {
		l.first = o
	}
	l.last = o
}

func (l *ownList) remove(o *Own) {
	if o.prev != nil {
		o.prev.next = o.next
	} else {
		l.first = o.next
	}
	if o.next != nil {
		o.next.prev = o.prev
	} else {
		l.last = o.prev
	}
	o.prev, o.next = nil, nil
}
