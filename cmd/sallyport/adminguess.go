package main

import (
	"sync"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/proxy/admin"
	"go.uber.org/zap"
)

// guesses slows down who tries tokens at the admin endpoints, as logins are slowed
// down. A source that has failed too often is not judged for a while, whatever it
// shows; one's own token that was taken within the last hour is, so that nobody
// locks an operator or a scraper out who works from the same machine.
type guesses struct {
	mu       sync.Mutex
	throttle *acl.Throttle // nil: off
	log      *zap.Logger
	failed   int       // since it was last said
	said     time.Time // in the log
}

// mostGuessers bounds the sources that are remembered: few may connect at all.
const mostGuessers = 4096

// begin sets what may fail; nil: anything. It is called before anybody is judged.
func (g *guesses) begin(o *acl.ThrottleOptions, log *zap.Logger) {
	g.log = log
	if o == nil {
		return
	}
	own := *o
	own.Entries = min(own.Entries, mostGuessers)
	g.throttle = acl.NewThrottle(own)
}

// judge asks who a token's holder is, if its source may still ask, and has a
// failure count. The token stands for a user's name in the throttle, which keeps
// but its digest.
func (g *guesses) judge(p admin.Proof, holder func(time.Time) string) string {
	now := time.Now()
	if !g.allow(p, now) {
		g.note(p, now)
		return ""
	}
	name := holder(now)
	if g.count(p, name != "", now); name == "" {
		g.note(p, now)
	}
	return name
}

func (g *guesses) allow(p admin.Proof, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.throttle == nil || g.throttle.Allow(p.From, p.Token, now)
}

func (g *guesses) count(p admin.Proof, good bool, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.throttle == nil:
	case good:
		g.throttle.Succeeded(p.From, p.Token, now)
	default:
		g.throttle.Failed(p.From, p.Token, now)
	}
}

// note says in the log, once a second at most, that tokens were refused.
func (g *guesses) note(p admin.Proof, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed++; g.log == nil || now.Sub(g.said) < time.Second {
		return
	}
	g.log.Warn("admin: a token was refused", zap.Stringer("from", p.From), zap.Int("refused_since_last_said", g.failed))
	g.failed, g.said = 0, now
}
