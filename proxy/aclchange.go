package proxy

import (
	"errors"
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
	deleted map[string]bool // users of the ACL file that ACL DELUSER removed; never more than it holds

	found map[string][]string // by backend: commands that the table does not know

	filed, filedAs *acl.Policy // what SetPolicy was given last, and what it put in force
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
	s.install(next, true)
	return nil
}

// install is called under changes.mu, so each loop gets the policies in their
// order and holds its sessions against every one of them as strictly as it asks:
// what a reload takes away, a change at run time beside it does not waive.
func (s *Server) install(p *acl.Policy, atRunTime bool) {
	s.mu.Lock()
	s.policy.Store(p)
	s.mu.Unlock()
	p.InForce()
	s.each(func(w *worker) { w.rejudge(p, atRunTime) })
	s.forgetTickets()
	s.measureHashes(p)
}

// forgetChanges records each user whose changes at run time end because the
// files are in force again. It is called under changes.mu.
func (s *Server) forgetChanges() {
	names := s.policy.Load().Unsaved()
	for name := range s.changes.deleted {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		s.opts.Recorder.Record(&audit.Event{
			Time: time.Now(), Kind: audit.Admin, Status: audit.OK, Command: "reload drops runtime changes of user " + name,
		})
	}
	s.changes.deleted = nil
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
			return now.WithUser(name, rules)
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
		var deleted, filed []string
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
				if next.User(name).Filed() {
					filed = append(filed, name)
				}
				next = without
				deleted = append(deleted, name)
			}
			if srv.changes.deleted == nil {
				srv.changes.deleted = make(map[string]bool)
			}
			for _, name := range filed {
				srv.changes.deleted[name] = true
			}
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
	srv, file := s.w.srv, s.w.srv.aclFile.Load()
	if file == nil {
		s.fail(errNoACLFile)
		return
	}
	s.elsewhere(func() func() {
		err := srv.change(func(now *acl.Policy) (*acl.Policy, error) {
			next, err := loaded(now, file)
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

// loaded is the policy with the users of the file, or every fault in it, as
// Redis tells them: in one line with a warning at its end.
func loaded(now *acl.Policy, file *ACLFile) (*acl.Policy, error) {
	text, err := file.Read()
	if err != nil {
		return nil, err
	}
	users, problems := acl.ParseFile(file.Name, text)
	next, more := now.WithFile(users)
	problems = append(problems, more...)
	slices.SortStableFunc(problems, func(a, b acl.Problem) int { return a.At.Line - b.At.Line })
	var faults strings.Builder
	for _, p := range problems {
		if !p.Warning {
			faults.WriteString(p.String() + ". ")
		}
	}
	if faults.Len() > 0 || next == nil {
		return nil, errors.New(faults.String() + "WARNING: ACL errors detected, no change to the previously active ACL rules was performed")
	}
	return next, nil
}

// aclSave is ACL SAVE: all users but those of policy.yaml.
func (s *session) aclSave() {
	srv, file := s.w.srv, s.w.srv.aclFile.Load()
	if file == nil {
		s.fail(errNoACLFile)
		return
	}
	s.elsewhere(func() func() {
		err := srv.change(func(now *acl.Policy) (*acl.Policy, error) {
			if err := file.Write(now.FileText()); err != nil {
				srv.log.Error("saving the ACL file", zap.Error(err))
				return nil, err
			}
			srv.changes.deleted = nil
			return now.Saved(), nil
		})
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
