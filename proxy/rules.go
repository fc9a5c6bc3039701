package proxy

import (
	"context"

	"github.com/sallyport/sallyport/acl"
)

// hit counts a decision on the rule it rests on. Calls that rest on the same one
// in a row, as most do, are added up before the counter all loops share is touched.
func (w *worker) hit(r *acl.Rule) {
	if r != w.ruled {
		w.flushHits()
		w.ruled = r
	}
	w.rulings++
}

func (w *worker) flushHits() {
	w.ruled.HitN(w.rulings)
	w.rulings = 0
}

// RuleHits is a written rule, whose it is, where it stands, and how many
// decisions rested on it since the process began.
type RuleHits struct {
	Owner string `json:"owner"`
	Rule  string `json:"rule"`
	At    string `json:"at,omitempty"`
	Hits  uint64 `json:"hits"`
}

// Rules lists the rules in force with their hits, so that those nobody needs can
// be found. Rules that hold passwords are not among them. It waits for every
// loop to hand over what it counted, or for ctx.
func (s *Server) Rules(ctx context.Context) ([]RuleHits, error) {
	s.mu.Lock()
	workers := append([]*worker(nil), s.workers...)
	s.mu.Unlock()
	for _, w := range workers {
		if w == nil {
			continue
		}
		done := make(chan struct{})
		if !w.loop.Post(func() { w.flushHits(); close(done) }) {
			continue
		}
		select {
		case <-done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var list []RuleHits
	for _, r := range s.policy.Load().Rules() {
		at := ""
		if r.At != (acl.Origin{}) {
			at = r.At.String()
		}
		list = append(list, RuleHits{Owner: r.Owner, Rule: r.Text, At: at, Hits: r.Hits()})
	}
	return list, nil
}
