package proxy

import (
	"cmp"
	"context"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/sallyport/sallyport/acl"
)

// What the admin endpoints show. No secret is in any of it, nor the hash of one.

// SessionQuery picks a page of the open sessions, by their numbers.
type SessionQuery struct {
	After    uint64 // numbers above it
	Limit    int    // at most so many; more than 0
	User     string // empty: anybody's
	Listener string // empty: any
}

// SessionPage is a page of the open sessions, ordered by number.
type SessionPage struct {
	Sessions []SessionInfo `json:"sessions"`
	Next     uint64        `json:"next,omitempty"`    // After of the next page; 0: this is the last
	Partial  bool          `json:"partial,omitempty"` // a loop did not answer in time
}

// SessionInfo is an open session.
type SessionInfo struct {
	ID          uint64     `json:"id"` // as CLIENT LIST and the record have it
	Listener    string     `json:"listener"`
	Client      string     `json:"client"`
	Peer        string     `json:"peer,omitempty"` // who is on the other end, where a PROXY header named the client
	User        string     `json:"user,omitempty"`
	Issuer      string     `json:"issuer,omitempty"`
	Method      string     `json:"method,omitempty"`
	Name        string     `json:"name,omitempty"` // CLIENT SETNAME
	Library     string     `json:"library,omitempty"`
	Database    int        `json:"database"`
	Protocol    int        `json:"protocol"`
	TLS         string     `json:"tls,omitempty"`
	Cipher      string     `json:"cipher,omitempty"`
	Certificate string     `json:"certificate,omitempty"` // its subject
	TokenID     string     `json:"token_id,omitempty"`
	Expires     *time.Time `json:"expires,omitempty"`
	Since       time.Time  `json:"since"`
	Idle        float64    `json:"idle_seconds"`
	Commands    uint64     `json:"commands"`
	Refused     uint64     `json:"refused"`
	BytesIn     uint64     `json:"bytes_in"`
	BytesOut    uint64     `json:"bytes_out"`
}

// Sessions gives a page of the open sessions. Each loop is asked, and keeps no
// more than a page for it. Not to be called on a loop.
func (s *Server) Sessions(ctx context.Context, q SessionQuery) (*SessionPage, error) {
	pages := askLater(s, func(w *worker, say func([]SessionInfo)) { w.page(&q, say) })
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	page := &SessionPage{Sessions: []SessionInfo{}, Partial: len(pages) < len(s.everyWorker())}
	more := false
	for _, p := range pages {
		page.Sessions = append(page.Sessions, p...)
		more = more || len(p) > q.Limit
	}
	slices.SortFunc(page.Sessions, func(a, b SessionInfo) int { return cmp.Compare(a.ID, b.ID) })
	if more = more || len(page.Sessions) > q.Limit; more {
		page.Sessions = page.Sessions[:q.Limit]
		page.Next = page.Sessions[q.Limit-1].ID
	}
	return page, nil
}

// page says the first sessions of this loop that the query picks, one more than
// it asks for if there are more.
func (w *worker) page(q *SessionQuery, say func([]SessionInfo)) {
	var picked []*session
	most := uint64(math.MaxUint64) // those above it are on a later page
	byID := func(a, b *session) int { return cmp.Compare(a.facts.id, b.facts.id) }
	w.walk(func(s *session) {
		if s.ended || s.facts.id <= q.After || s.facts.id > most || q.Listener != "" && s.facts.listener != q.Listener ||
			q.User != "" && (s.user == nil || s.user.Name() != q.User) {
			return
		}
		if picked = append(picked, s); len(picked) == 2*(q.Limit+1) {
			slices.SortFunc(picked, byID)
			picked = picked[:q.Limit+1]
			most = picked[q.Limit].facts.id
		}
	}, func() {
		slices.SortFunc(picked, byID)
		infos := make([]SessionInfo, 0, len(picked))
		for _, s := range picked[:min(len(picked), q.Limit+1)] {
			infos = append(infos, s.overview())
		}
		say(infos)
	})
}

// overview says who the session is. What a client chose is made fit to be shown.
func (s *session) overview() SessionInfo {
	f := &s.facts
	i := SessionInfo{
		ID: f.id, Listener: f.listener, Client: f.remote, Name: excerpt(s.name), Database: s.db, Protocol: s.proto,
		TLS: f.tls, Cipher: f.cipher, Certificate: f.cert.Subject, Since: s.began.UTC(), Idle: s.w.now().Sub(s.active).Seconds(),
		Commands: s.commands, Refused: s.refused, BytesIn: s.bytesIn, BytesOut: s.bytesOut,
	}
	if f.network == "unix" {
		i.Client = "unix"
	}
	if f.peer != f.client && f.peer != (netip.Addr{}) {
		i.Peer = f.peer.String()
	}
	if len(s.libName) > 0 {
		i.Library = excerpt(s.libName) + " " + excerpt(s.libVer)
	}
	if s.user != nil {
		i.User, i.Issuer, i.Method, i.TokenID = s.user.Name(), s.who.Issuer, s.method.String(), s.who.TokenID
		if at := s.who.Expires; !at.IsZero() {
			at = at.UTC()
			i.Expires = &at
		}
	}
	return i
}

// EndSession ends a session as CLIENT KILL does; false: there is none of that
// number. Not to be called on a loop.
func (s *Server) EndSession(ctx context.Context, id uint64) (bool, error) {
	f := clientFilter{ids: []int64{int64(id)}}
	ended := 0
	for _, n := range ask(s, func(w *worker) int { return w.kill(&f, nil) }) {
		ended += n
	}
	return ended > 0, ctx.Err()
}

// UserInfo is a user of the policy in force.
type UserInfo struct {
	Name      string     `json:"name"`
	Enabled   bool       `json:"enabled"`
	Source    string     `json:"source"` // policy, aclfile, or runtime: made or changed and in no file
	At        string     `json:"at,omitempty"`
	Roles     []string   `json:"roles,omitempty"`
	NoPass    bool       `json:"nopass,omitempty"`
	Passwords int        `json:"passwords"`
	Requires  []string   `json:"requires,omitempty"`
	Why       string     `json:"why,omitempty"`
	Owner     string     `json:"owner,omitempty"`
	Until     *time.Time `json:"until,omitempty"`
}

// Users lists the users of the policy in force, by name.
func (s *Server) Users() []UserInfo {
	p := s.policy.Load()
	unsaved := p.Unsaved()
	list := make([]UserInfo, 0, len(p.Users()))
	for _, u := range p.Users() {
		i := UserInfo{Name: u.Name(), Enabled: u.Enabled(), Source: "aclfile", Roles: u.Roles(), NoPass: u.NoPass(), Passwords: u.Passwords(), Requires: u.Requires().Names()}
		switch {
		case u.Defined():
			i.Source = "policy"
		case slices.Contains(unsaved, u.Name()):
			i.Source = "runtime"
		}
		if u.At() != (acl.Origin{}) {
			i.At = u.At().String()
		}
		var until time.Time
		if i.Why, i.Owner, until = u.Note(); !until.IsZero() {
			until = until.UTC()
			i.Until = &until
		}
		list = append(list, i)
	}
	return list
}

// BackendInfo is a backend with the nodes it has now.
type BackendInfo struct {
	Name        string     `json:"name"`
	Up          bool       `json:"up"`
	Connections int        `json:"connections"`
	Version     string     `json:"version,omitempty"` // as a node said last
	Nodes       []NodeInfo `json:"nodes"`
}

// NodeInfo is a node of a backend.
type NodeInfo struct {
	Address     string `json:"address"`
	Up          bool   `json:"up"`
	Connections int    `json:"connections"`
	Role        string `json:"role,omitempty"`     // primary or replica, where there are several nodes
	Zone        string `json:"zone,omitempty"`     // where it says that it is, if that is asked
	Read        bool   `json:"readable,omitempty"` // reads may go there, where they go to replicas
}

// Backends lists the backends, by name.
func (s *Server) Backends() []BackendInfo {
	var list []BackendInfo
	for name, b := range s.backends.Load().now {
		i := BackendInfo{Name: name, Up: b.Up(), Connections: b.Connections(), Nodes: []NodeInfo{}}
		for _, n := range b.State() {
			i.Nodes = append(i.Nodes, NodeInfo(n))
		}
		if info := b.Info(); info != nil {
			i.Version = info.Version
		}
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b BackendInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// ListenerInfo is a way in.
type ListenerInfo struct {
	Name     string            `json:"name"`
	Address  string            `json:"address"` // where it is bound
	TLS      bool              `json:"tls"`
	Backend  string            `json:"backend"`
	Commands map[string]string `json:"commands,omitempty"` // what it calls commands otherwise; empty: disabled
}

// Listeners lists the ways in, in the configuration's order.
func (s *Server) Listeners() []ListenerInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]ListenerInfo, 0, len(s.listeners))
	for _, l := range s.listeners {
		list = append(list, ListenerInfo{
			Name: l.opts.Name, Address: l.at.ln.Addr().String(), TLS: l.tls.Load() != nil, Backend: l.opts.Backend, Commands: l.names.Load().Changed(),
		})
	}
	return list
}

// CertificateInfo is a file with certificates or revocation lists of a listener.
type CertificateInfo struct {
	Listener   string     `json:"listener"`
	File       string     `json:"file"`
	NotAfter   *time.Time `json:"not_after,omitempty"`   // the first end among its certificates
	ThisUpdate *time.Time `json:"this_update,omitempty"` // of a revocation list
	NextUpdate *time.Time `json:"next_update,omitempty"`
}

// Certificates lists the files by which listeners know themselves and others.
func (s *Server) Certificates() []CertificateInfo {
	s.mu.Lock()
	listeners := slices.Clone(s.listeners)
	s.mu.Unlock()
	list := []CertificateInfo{}
	utc := func(t time.Time) *time.Time { t = t.UTC(); return &t }
	for _, l := range listeners {
		t := l.tls.Load()
		if t == nil {
			continue
		}
		for file, end := range t.NotAfter() {
			list = append(list, CertificateInfo{Listener: l.opts.Name, File: file, NotAfter: utc(end)})
		}
		for _, c := range t.CRLs() {
			list = append(list, CertificateInfo{Listener: l.opts.Name, File: c.File, ThisUpdate: utc(c.ThisUpdate), NextUpdate: utc(c.NextUpdate)})
		}
	}
	slices.SortFunc(list, func(a, b CertificateInfo) int {
		return cmp.Or(cmp.Compare(a.Listener, b.Listener), cmp.Compare(a.File, b.File))
	})
	return list
}
