package proxy

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/backend"
	"go.uber.org/zap"
)

// Commands that the table lacks can be learned from a backend that is to be
// asked. What it says adds names to the table and changes nothing that is known;
// the policy asks the most for them. An answer that does not come, or is none,
// leaves everything as it is.

// commandSource says which commands a backend has.
type commandSource interface {
	Commands(context.Context) ([]string, error)
	Info() *backend.Info // another pointer after each connection; nil: none yet
}

// When a backend is asked: as soon as it can be reached, after it was reached
// anew, and now and then, as modules are loaded into a running server.
const (
	discoverLook    = 2 * time.Second  // how often it is looked whether there is a new connection
	discoverAtLeast = 30 * time.Second // between two questions, unless the version is another
	discoverEvery   = 10 * time.Minute // less a part left to chance
	discoverPatient = 10 * time.Second // what one answer may take
)

// discovery is what is known of one backend's commands. It belongs to its goroutine.
type discovery struct {
	name   string
	source commandSource
	asked  time.Time     // zero: never
	every  time.Duration // until the next question that nothing asks for
	seen   *backend.Info // when it was asked last
}

// discover keeps asking the backends that are to be asked, until the server closes.
func (s *Server) discover() {
	defer s.proofs.out.Done()
	tick := time.NewTicker(discoverLook)
	defer tick.Stop()
	known := make(map[string]*discovery)
	for {
		s.follow(known)
		for _, d := range known {
			if now := time.Now(); d.due(now) {
				s.askCommands(d, now)
			}
		}
		select {
		case <-tick.C:
		case <-s.proofs.ctx.Done():
			return
		}
	}
}

// follow brings known to what the configuration in force says. What was learned
// from a backend that is not to be asked any more is forgotten.
func (s *Server) follow(known map[string]*discovery) {
	now := s.backends.Load().now
	for name, b := range now {
		if d := known[name]; b.Discovers() && (d == nil || d.source != commandSource(b)) {
			known[name] = &discovery{name: name, source: b}
		}
	}
	for name := range known {
		if b := now[name]; b == nil || !b.Discovers() {
			delete(known, name)
			if err := s.learn(name, nil); err != nil {
				s.log.Error("what was learned from a backend can't be forgotten", zap.String("backend", name), zap.Error(err))
			}
		}
	}
}

// due says whether the backend is to be asked now.
func (d *discovery) due(now time.Time) bool {
	info := d.source.Info()
	switch {
	case info == nil:
		return false // it was never reached
	case d.seen == nil || info.Version != d.seen.Version || now.Sub(d.asked) >= d.every:
		return true
	}
	return info != d.seen && now.Sub(d.asked) >= discoverAtLeast
}

// askCommands asks a backend and learns what it says.
func (s *Server) askCommands(d *discovery, now time.Time) {
	d.asked, d.seen = now, d.source.Info()
	d.every = discoverEvery - rand.N(discoverEvery/4)
	ctx, cancel := context.WithTimeout(s.proofs.ctx, discoverPatient)
	defer cancel()
	names, err := d.source.Commands(ctx)
	if err == nil {
		err = s.learn(d.name, names)
	}
	if err != nil && s.proofs.ctx.Err() == nil {
		s.log.Warn("commands of a backend can't be learned; what was learned before holds", zap.String("backend", d.name), zap.Error(err))
	}
}

// learn puts what a backend says it has beside what the others say, and in force.
func (s *Server) learn(name string, commands []string) error {
	s.changes.mu.Lock()
	defer s.changes.mu.Unlock()
	now := s.policy.Load()
	// With keeps only what is new, and no more than the table takes: nothing else is remembered.
	found := now.Table().Base().With(commands).Discovered()
	if slices.Equal(s.changes.found[name], found) {
		return nil
	}
	before := s.changes.found[name]
	if s.changes.found == nil {
		s.changes.found = make(map[string][]string)
	}
	s.changes.found[name] = found
	next, err := s.withFound(now)
	if err != nil {
		s.changes.found[name] = before
		return err
	}
	if next != now {
		s.install(next, true)
	}
	s.log.Info("commands learned from a backend: allowed by name, and with ~* &*", zap.String("backend", name),
		zap.Int("commands", len(found)), zap.Strings("some", found[:min(len(found), 32)]))
	return nil
}

// withFound gives the policy with the table of everything that was learned. It
// is called under changes.mu.
func (s *Server) withFound(p *acl.Policy) (*acl.Policy, error) {
	var all []string
	for _, names := range s.changes.found {
		all = append(all, names...)
	}
	table := p.Table().With(all)
	if table == p.Table() {
		return p, nil
	}
	next, problems := p.WithTable(table)
	for _, problem := range problems {
		if next == nil && !problem.Warning {
			return nil, problemError{problem}
		}
	}
	return next, nil
}

// problemError is a fault of a policy as an error.
type problemError struct{ acl.Problem }

func (e problemError) Error() string { return e.String() }

// Table gives the command table in force, with what was learned from backends: a
// configuration that is to replace the one in force is best read against it.
func (s *Server) Table() *command.Table { return s.policy.Load().Table() }
