package proxy

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/sallyport/sallyport/proxy/resp"
	"go.uber.org/zap"
)

// changes keeps changes of the policy in a row: each starts from what the one
// before left in force.
type changes struct {
	mu      sync.Mutex
	unsaved map[string]bool // users changed by ACL SETUSER or DELUSER since the last load or save
}

// change replaces the policy in force by one made of it, on all loops at once.
// It waits for a lock, and make may take its time: not to be called on a loop.
func (s *Server) change(make func(now *acl.Policy) (*acl.Policy, error)) error {
	s.changes.mu.Lock()
	defer s.changes.mu.Unlock()
	next, err := make(s.policy.Load())
	if err != nil {
		return err
	}
	s.install(next)
	return nil
}

// install is called under changes.mu. Each loop takes what is in force when it
// gets to it, so that no loop goes back to an older policy.
func (s *Server) install(p *acl.Policy) {
	s.mu.Lock()
	s.policy.Store(p)
	s.mu.Unlock()
	s.each(func(w *worker) { w.rejudge(s.policy.Load()) })
}

// touched notes users that differ from what the files say.
func (c *changes) touched(names ...string) {
	if c.unsaved == nil {
		c.unsaved = make(map[string]bool)
	}
	for _, name := range names {
		c.unsaved[name] = true
	}
}

// forgetChanges records each user whose changes at run time end because the
// files are in force again. It is called under changes.mu.
func (s *Server) forgetChanges() {
	for _, name := range slices.Sorted(maps.Keys(s.changes.unsaved)) {
		s.opts.Recorder.Record(&audit.Event{
			Time: time.Now(), Kind: audit.Admin, Status: audit.OK, Command: "reload drops runtime changes of user " + name,
		})
	}
	clear(s.changes.unsaved)
}

// adminEvent records an administrative action of the session's user.
func (s *session) adminEvent(action string, err error, rules string) {
	e := s.event(audit.Admin)
	e.Command, e.Rule, e.Status = action, rules, audit.OK
	if err != nil {
		e.Status, e.Rule = audit.Failed, ""
	}
	s.w.recorder.Record(&e)
}

// aclSetUser is ACL SETUSER name [rule …].
func (s *session) aclSetUser(args [][]byte) {
	name, rules := string(args[2]), texts(args[3:])
	srv := s.w.srv
	s.elsewhere(func() func() {
		err := srv.change(func(now *acl.Policy) (*acl.Policy, error) {
			next, err := now.WithUser(name, rules)
			if err == nil {
				srv.changes.touched(name)
			}
			return next, err
		})
		return func() {
			s.adminEvent("acl|setuser "+name, err, withoutSecrets(rules))
			s.okOr(err)
		}
	})
}

// aclDelUser is ACL DELUSER name [name …]. All of them go or none; their
// sessions end, the caller's own after its reply.
func (s *session) aclDelUser(args [][]byte) {
	names := texts(args[2:])
	srv := s.w.srv
	s.elsewhere(func() func() {
		var deleted []string
		err := srv.change(func(now *acl.Policy) (*acl.Policy, error) {
			next := now
			for _, name := range names {
				without, err := next.WithoutUser(name)
				if err != nil {
					return nil, err
				}
				if without == next {
					continue
				}
				next = without
				deleted = append(deleted, name)
			}
			srv.changes.touched(deleted...)
			return next, nil
		})
		return func() {
			s.adminEvent("acl|deluser "+clip(strings.Join(names, " ")), err, "")
			if err != nil {
				s.okOr(err)
				return
			}
			s.emit(resp.AppendInt(s.w.scratch[:0], int64(len(deleted))))
		}
	})
}

// aclLoad is ACL LOAD: the users of the ACL file as it is now, all or nothing.
// Sessions of users that are gone end.
func (s *session) aclLoad() {
	srv := s.w.srv
	if srv.opts.ACLFile == nil {
		s.fail(errNoACLFile)
		return
	}
	s.elsewhere(func() func() {
		err := srv.change(func(now *acl.Policy) (*acl.Policy, error) {
			next, err := srv.opts.ACLFile.Load(now)
			if err == nil {
				srv.forgetChanges()
			}
			return next, err
		})
		return func() {
			s.adminEvent("acl|load", err, "")
			s.okOr(err)
		}
	})
}

// aclSave is ACL SAVE.
func (s *session) aclSave() {
	srv := s.w.srv
	if srv.opts.ACLFile == nil {
		s.fail(errNoACLFile)
		return
	}
	s.elsewhere(func() func() {
		srv.changes.mu.Lock()
		defer srv.changes.mu.Unlock()
		err := srv.opts.ACLFile.Save(srv.policy.Load())
		if err != nil {
			srv.log.Error("saving the ACL file", zap.Error(err))
		} else {
			clear(srv.changes.unsaved)
		}
		return func() {
			s.adminEvent("acl|save", err, "")
			if err != nil {
				s.fail(errACLSave)
				return
			}
			s.ok()
		}
	})
}

// okOr answers OK, or an error in the words it has.
func (s *session) okOr(err error) {
	if err != nil {
		s.fail("ERR " + err.Error())
		return
	}
	s.ok()
}

// texts copies arguments, whose bytes are the reader's.
func texts(args [][]byte) []string {
	list := make([]string, len(args))
	for i, a := range args {
		list[i] = string(a)
	}
	return list
}

// withoutSecrets is what the record keeps of the rules of an ACL SETUSER: all
// but passwords and their hashes.
func withoutSecrets(rules []string) string {
	shown := make([]string, len(rules))
	for i, r := range rules {
		if shown[i] = r; r != "" && strings.IndexByte("><#!", r[0]) >= 0 {
			shown[i] = r[:1] + "…"
		}
	}
	return clip(strings.Join(shown, " "))
}
