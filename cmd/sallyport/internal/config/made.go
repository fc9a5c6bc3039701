package config

import (
	"crypto/sha256"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/tlsutil"
)

// made is what a load made of files, for the load after it: a reload mostly changes
// one of them, and reading is cheap where parsing, keys and policies are not. Each
// file is read all the same, and each setting judged; only where the content is the
// same, byte by byte, is what was made of it used again. Nothing in it changes any
// more.
type made struct {
	docs   map[string]*document // small ones without a fault, by displayed name
	parsed *tlsutil.Parsed
	acl    aclFileMade
	policy []acl.Problem // what compiling it found
}

// aclFileMade is what an ACL file holds.
type aclFileMade struct {
	shown    string
	sum      [sha256.Size]byte
	users    []acl.UserSource
	problems []acl.Problem
}

// mostKept bounds the text of a document that is kept: its tree takes many times
// as much memory for as long as the configuration is in force.
const mostKept = 64 << 10

func newMade() made {
	return made{docs: make(map[string]*document), parsed: new(tlsutil.Parsed)}
}

func (m *made) keep(d *document) {
	if d.root != nil && len(d.text) <= mostKept {
		m.docs[d.name] = d
	}
}

// aclUsers is acl.ParseFile for a text that may be the same as last time.
func (r *reader) aclUsers(shown string, text []byte) ([]acl.UserSource, []acl.Problem) {
	sum := sha256.Sum256(text)
	if was := r.was.made.acl; was.shown == shown && was.sum == sum {
		r.made.acl = was
		return was.users, was.problems
	}
	users, problems := acl.ParseFile(shown, string(text))
	r.made.acl = aclFileMade{shown, sum, users, problems}
	return users, problems
}

// policyOf is acl.Compile for a source that may be the same as last time.
func (r *reader) policyOf(src acl.Source) (*acl.Policy, []acl.Problem) {
	if was := r.was.Policy; was != nil && was.CompiledFrom(&src) {
		r.made.policy = r.was.made.policy
		return was, r.made.policy
	}
	policy, problems := acl.Compile(src)
	r.made.policy = problems
	return policy, problems
}

// serverOf gives the server that a listener of the configuration before has, where
// one made anew would not differ from it but in its ticket keys: nobody is judged
// anew then. Not that of another listener, whose tickets would be good here.
func (r *reader) serverOf(l *listener) *tlsutil.Server {
	s := r.server(l.tls)
	for i := range r.was.listeners {
		if was := &r.was.listeners[i]; s != nil && was.server != nil && was.name.Value == l.name.Value && s.Same(was.server) {
			return was.server
		}
	}
	return s
}
