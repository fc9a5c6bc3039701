package backend

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A user of the policy may have a login of its own at the nodes. What its sessions
// send travels on connections that were logged in so, and on no others: an
// Identity is part of the Key by which shared, own and big connections are told
// apart. A login that can't be made is an error for those who need it; nothing
// of theirs ever goes over another one.

// UserLogin is how the calls of one user of the policy are introduced.
type UserLogin struct {
	User     string                 // at the nodes; never empty
	Password func() (string, error) // asked at each dial, so that a rotated file needs no restart
	Source   string                 // where the password comes from: logins of one User from two sources are two
}

// Identity is the number of a user's login at a Backend. 0 is the Backend's own.
// No two of a process are alike: one that belongs to another Backend is unknown
// to this one, and never somebody else's.
type Identity uint32

var lastIdentity atomic.Uint32

// asControl is for what no client asked: it goes as the control plane, where that
// is somebody of its own.
const asControl Identity = math.MaxUint32

// ErrLogin: the login of a user's own can't be made. What it wraps is for the log.
var ErrLogin = errors.New("login of a user's own")

var (
	errNoSuchLogin = errors.New("it is no longer configured")
	errNoPassword  = errors.New("its password is empty")
)

// identities are the logins of users. Safe for concurrent use.
type identities struct {
	mu      sync.Mutex
	numbers map[string]Identity // by user and source; they are never used again
	now     atomic.Pointer[identitySet]
	most    atomic.Int64 // shared connections of all of them, over all loops
	open    atomic.Int64 // of those there are
	refused atomic.Uint64
}

// identitySet is the logins as configured; it is replaced, never changed.
type identitySet struct {
	of     map[string]Identity // by user of the policy
	logins map[Identity]UserLogin
}

// SetLogins changes which users of the policy have a login of their own. Sessions
// ask for their Identity anew after it; connections in service go on until they
// have been idle for a while. It reports whether any user's is another than before.
func (b *Backend) SetLogins(logins map[string]UserLogin) (changed bool) {
	i := &b.identities
	i.mu.Lock()
	defer i.mu.Unlock()
	set := &identitySet{of: make(map[string]Identity, len(logins)), logins: make(map[Identity]UserLogin, len(logins))}
	for user, l := range logins {
		name := l.User + "\x00" + l.Source
		n, known := i.numbers[name]
		if !known {
			if i.numbers == nil {
				i.numbers = make(map[string]Identity)
			}
			n = Identity(lastIdentity.Add(1))
			i.numbers[name] = n
		}
		set.of[user], set.logins[n] = n, l
	}
	was := i.now.Swap(set)
	return was == nil || !maps.Equal(was.of, set.of)
}

// SetConnections changes how many connections there may be that not everybody
// shares. Those there are stay.
func (b *Backend) SetConnections(c Connections) {
	c = c.withDefaults()
	b.owned.mu.Lock()
	b.owned.limits = c
	b.owned.mu.Unlock()
	b.identities.most.Store(int64(c.Logins))
}

// Identity gives the login of a user of the policy, 0 if it has none of its own.
func (b *Backend) Identity(user string) Identity {
	if set := b.identities.now.Load(); set != nil {
		return set.of[user]
	}
	return 0
}

// introduction is how a connection for a Key introduces itself.
func (b *Backend) introduction(k Key) (*login, error) {
	own := b.login.Load()
	switch k.As {
	case 0:
		return own, nil
	case asControl:
		if l := b.asking.Load(); l != nil {
			as := &login{user: l.User, password: l.Password, tls: own.tls}
			if l.User != "" {
				as.password = UserLogin{User: l.User, Password: l.Password}.secret
			}
			return as, nil
		}
		return own, nil
	}
	set := b.identities.now.Load()
	if l, ok := set.logins[k.As]; ok {
		return &login{user: l.User, password: l.secret, tls: own.tls}, nil
	}
	return nil, fmt.Errorf("%w: %w", ErrLogin, errNoSuchLogin)
}

// secret gives a password that is one: without it a node would take the
// connection for that of its default user.
func (l UserLogin) secret() (password string, err error) {
	if l.User == "" || l.Password == nil {
		err = errNoPassword
	} else if password, err = l.Password(); err == nil && password == "" {
		err = errNoPassword
	}
	if err != nil {
		return "", fmt.Errorf("%w, %s: %w", ErrLogin, l.User, err)
	}
	return password, nil
}

// asOwn marks a failure that is a user's own: the node's word against its login.
// That the node can't be reached, or takes no more connections, is everybody's
// trouble.
func (as *login) asOwn(k Key, err error) error {
	var refused *RefusedError
	switch {
	case k.As == 0 || k.As == asControl || errors.Is(err, ErrLogin):
		return err
	case errors.Is(err, errNoUsers):
	case !errors.As(err, &refused) || refused.Step != "HELLO" && refused.Step != "AUTH" || !disproved(refused.Reply):
		return err
	}
	return fmt.Errorf("%w, %s: %w", ErrLogin, as.user, err)
}

// disproved reports words that are about who somebody is.
func disproved(reply string) bool {
	word, _, _ := strings.Cut(reply, " ")
	return word == "WRONGPASS" || word == "NOAUTH" || word == "NOPERM"
}

// failureOf is what those hear who wait for a connection that could not be had.
func failureOf(err error) Failure {
	if errors.Is(err, ErrLogin) {
		return NoLogin
	}
	return 0
}

// LoginConnections is the number of shared connections of users' logins, those
// being dialled included, over all loops.
func (b *Backend) LoginConnections() int { return int(b.identities.open.Load()) }

// LoginsRefused counts the connections that were not opened because there were
// as many as may be.
func (b *Backend) LoginsRefused() uint64 { return b.identities.refused.Load() }

// list puts a line into service for its Key.
func (p *Pool) list(ln *line) {
	p.lines[ln.key] = ln
	if ln.key.As == 0 {
		return
	}
	p.identified++
	p.b.identities.open.Add(1)
	if p.identified == 1 {
		p.l.Arm(&p.sweeping, idleLogin, p.sweep)
	}
}

// unlist takes a line out of it.
func (p *Pool) unlist(ln *line) {
	if p.lines[ln.key] != ln {
		return
	}
	delete(p.lines, ln.key)
	if ln.key.As != 0 {
		p.identified--
		p.b.identities.open.Add(-1)
	}
}

// idleLogin is how long a connection of a user's login may be idle, at most twice
// that: other than databases, users come in any number, and go.
const idleLogin = 30 * time.Second

// sweep closes connections of users' logins on which nothing went since the last
// time.
func (p *Pool) sweep() {
	if p.closed {
		return
	}
	for _, ln := range p.lines {
		if ln.key.As == 0 || ln.state != ready || ln.Outstanding() > 0 {
			continue
		}
		if sent := ln.link.Appended(); sent != ln.swept {
			ln.swept = sent
			continue
		}
		p.dismiss(ln)
	}
	if p.identified > 0 {
		p.l.Arm(&p.sweeping, idleLogin, p.sweep)
	}
}

// admits makes room for one more connection of a user's login.
func (p *Pool) admits() bool {
	i := &p.b.identities
	if i.open.Load() < i.most.Load() {
		return true
	}
	var oldest *line
	for _, ln := range p.lines {
		idle := ln.key.As != 0 && ln.state == ready && ln.Outstanding() == 0
		if idle && (oldest == nil || ln.since.Before(oldest.since)) {
			oldest = ln
		}
	}
	if oldest == nil {
		i.refused.Add(1)
		return false
	}
	p.dismiss(oldest)
	return true
}

// dismiss closes an idle connection. Whoever still has its Pipeline finds that
// Gone, and asks for another one.
func (p *Pool) dismiss(ln *line) {
	p.unlist(ln)
	conn := ln.conn
	ln.up(false)
	ln.conn = nil
	ln.drop(closed)
	conn.Close()
}

// full is a Pipeline that takes nothing, where there are as many as may be.
func (p *Pool) full() *Pipeline {
	full := NewPipeline(2, p.l.Now, &p.Stats)
	full.state, full.why = closed, Limited
	return full
}

// Departed is a Pipeline that takes no calls, for a session that is to ask for
// another one once it is owed no reply.
func Departed() *Pipeline { return departed }

var departed = &Pipeline{state: closed, stats: new(Stats)}
