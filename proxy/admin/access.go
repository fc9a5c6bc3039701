package admin

import (
	"context"
	"crypto/tls"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Role is what somebody may do here. Each may do what those below it may.
type Role uint8

// The roles. Anybody needs none: the endpoints of probes.
const (
	Anybody Role = iota
	Viewer       // looks
	Member       // ends sessions, reloads
	Owner        // drains
)

var roleNames = [...]string{Viewer: "viewer", Member: "member", Owner: "owner"}

// String gives the word used in the configuration, empty for Anybody.
func (r Role) String() string { return roleNames[min(r, Owner)] }

// ParseRole reads "viewer", "member" or "owner".
func ParseRole(s string) (Role, bool) {
	for r, name := range roleNames {
		if name == s && s != "" {
			return Role(r), true
		}
	}
	return Anybody, false
}

// Caller is who asks. Name is empty where nobody is asked who they are.
type Caller struct {
	Name string
	Role Role
}

// Proof is what a request shows of who sent it. A token that is shown counts
// alone: a bad one is not made good by a certificate.
type Proof struct {
	TLS   *tls.ConnectionState // nil: plain HTTP
	Token string               // of an Authorization header; empty: there is none
	From  netip.Addr           // whose request it is; zero on a unix socket
}

const maxToken = 4096

// caller finds out who sent a request; false: a proof that is none.
func (s *Server) caller(r *http.Request) (Caller, bool) {
	if s.mutual && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
		return Caller{}, false // the handshake sees to it; this does should it ever not
	}
	if s.options.Identify == nil {
		return Caller{Role: Owner}, true
	}
	p := Proof{TLS: r.TLS}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		p.From = from.Addr()
	}
	if given, ok := r.Header["Authorization"]; ok {
		scheme, token, _ := strings.Cut(given[0], " ")
		if token = strings.TrimSpace(token); len(given) != 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
			return Caller{}, false
		}
		p.Token = token
	}
	return s.options.Identify(p)
}

// authorized answers whoever may not use an endpoint, and says false.
func (s *Server) authorized(w http.ResponseWriter, r *http.Request, to *route) (Caller, bool) {
	began := time.Now()
	who, known := s.caller(r)
	switch {
	case known && who.Role >= to.needs:
		return who, true
	case to.needs == Anybody && !(s.mutual && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0)):
		return who, true
	case !known || who.Role == Anybody:
		if _, tried := r.Header["Authorization"]; tried {
			s.linger(r.Context(), began)
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="sallyport"`)
		problem(w, http.StatusUnauthorized, "who are you? A certificate or a bearer token of admin.users says it")
	default:
		if to.method != http.MethodGet {
			s.acted(to.action(r), r, who, ErrForbidden)
		}
		problem(w, http.StatusForbidden, "this needs the role "+to.needs.String()+", you are "+who.Role.String())
	}
	return who, false
}

// linger waits until a token that is nobody's may be said to be, so that whoever
// guesses can't do so as fast as answers come. The connection is not busy
// meanwhile: it makes room for others. A token that is somebody's never waits.
func (s *Server) linger(ctx context.Context, began time.Time) {
	left := s.options.FailureDelay - time.Since(began)
	if left <= 0 {
		return
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// hostAllowed says whether a request is meant for this machine. A web page whose
// name was made to resolve to an address of ours has its browser send that name,
// so a name is taken only if it is known to be ours: configured, or one that the
// TLS certificate bears out. An address over plain HTTP must be loopback; over
// TLS any is as good as the certificate it was reached by. Over a unix socket no
// browser speaks, and clients send anything.
func (s *Server) hostAllowed(r *http.Request) bool {
	if _, unix := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); unix {
		return true
	}
	name := hostName(r.Host)
	if name == "localhost" || s.hosts[name] {
		return true
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return r.TLS != nil || addr.Unmap().IsLoopback()
	}
	return r.TLS != nil && s.options.Named != nil && s.options.Named(name)
}

// hostName is a Host header's name without port, brackets, final dot and case.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// ours reports whether a write's body is of a kind that no form of another site
// can send without asking first: JSON, or nothing.
func ours(r *http.Request) bool {
	given, ok := r.Header["Content-Type"]
	if !ok {
		return r.ContentLength == 0
	}
	kind, _, err := mime.ParseMediaType(given[0])
	return len(given) == 1 && err == nil && kind == "application/json"
}

func denyCrossOrigin(w http.ResponseWriter, _ *http.Request) {
	problem(w, http.StatusForbidden, "requests from another site are not taken")
}
