package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// route is an endpoint: one method, which for GET includes HEAD.
type route struct {
	method string
	serve  http.HandlerFunc
}

// table lists the endpoints that have something behind them.
func (s *Server) table() map[string]route {
	t := map[string]route{
		"/livez":  {http.MethodGet, s.live},
		"/readyz": {http.MethodGet, s.ready},
	}
	if s.options.Metrics != nil {
		t["/metrics"] = route{http.MethodGet, s.options.Metrics.ServeHTTP}
	}
	if s.options.Version != nil {
		t["/version"] = route{http.MethodGet, s.version}
	}
	if f := s.options.Sessions; f != nil {
		t["/api/v1/sessions"] = route{http.MethodGet, list(f)}
	}
	if f := s.options.Rules; f != nil {
		t["/api/v1/rules"] = route{http.MethodGet, list(f)}
	}
	if s.options.Drain != nil {
		t["/api/v1/drain"] = route{http.MethodPost, s.drain}
	}
	if s.options.Reload != nil {
		t["/api/v1/reload"] = route{http.MethodPost, s.reload}
	}
	return t
}

// ServeHTTP implements http.Handler: who is asking, then what for.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if !s.hostAllowed(r) {
		problem(w, http.StatusMisdirectedRequest, "the Host header does not name this machine")
		return
	}
	s.guard.Handler(http.HandlerFunc(s.dispatch)).ServeHTTP(w, r)
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	to, ok := s.routes[r.URL.Path]
	if !ok {
		problem(w, http.StatusNotFound, "no such endpoint")
		return
	}
	if r.Method != to.method && !(to.method == http.MethodGet && r.Method == http.MethodHead) {
		allow := to.method
		if allow == http.MethodGet {
			allow = "GET, HEAD"
		}
		w.Header().Set("Allow", allow)
		problem(w, http.StatusMethodNotAllowed, "this endpoint takes "+allow)
		return
	}
	// No endpoint reads a body; one that is small is none of our business, so
	// that tools which always send "{}" work.
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		status := http.StatusBadRequest
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		problem(w, status, "the request's body can't be read")
		return
	}
	to.serve(w, r)
}

func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.draining.Load() {
		problem(w, http.StatusServiceUnavailable, "draining")
		return
	}
	if s.options.Ready != nil {
		if err := s.options.Ready(); err != nil {
			problem(w, http.StatusServiceUnavailable, err.Error())
			return
		}
	}
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.options.Version())
}

// list answers with what f gathers.
func list(f func(context.Context) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		items, err := f(r.Context())
		if err != nil {
			problem(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, items)
	}
}

// drain begins the drain. Asking again is fine and changes nothing.
func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	if s.draining.CompareAndSwap(false, true) {
		s.acted("drain", r, nil)
		s.options.Drain()
	}
	answer(w, http.StatusAccepted, map[string]string{"status": "draining"})
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if !s.reloading.CompareAndSwap(false, true) {
		problem(w, http.StatusConflict, "a reload is under way")
		return
	}
	defer s.reloading.Store(false)
	// A client that gives up must not leave it to chance whether its reload
	// happened: once begun it ends on its own, or with the server.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), ReloadTimeout)
	defer cancel()
	if serving, ok := r.Context().Value(servingKey{}).(context.Context); ok {
		defer context.AfterFunc(serving, cancel)()
	}
	err := s.options.Reload(ctx)
	s.acted("reload", r, err)
	if err != nil {
		problem(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "reloaded"})
}

func (s *Server) acted(name string, r *http.Request, err error) {
	if s.options.Acted != nil {
		s.options.Acted(Action{Time: time.Now(), Name: name, Remote: r.RemoteAddr, Err: err})
	}
}

// hostAllowed says whether a request is meant for this machine. A web page whose
// name was made to resolve to 127.0.0.1 has its browser send that name, so a
// name is taken only if it is known to be ours; an address is taken if it is
// loopback. Over a unix socket no browser speaks, and clients send anything.
func (s *Server) hostAllowed(r *http.Request) bool {
	if _, unix := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); unix {
		return true
	}
	name := hostName(r.Host)
	if name == "localhost" || s.hosts[name] {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
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

func denyCrossOrigin(w http.ResponseWriter, _ *http.Request) {
	problem(w, http.StatusForbidden, "requests from another site are not taken")
}

// problemDetails is RFC 9457's object; its type is about:blank, so title is the
// status's own text.
type problemDetails struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

func problem(w http.ResponseWriter, status int, detail string) {
	send(w, status, "application/problem+json", problemDetails{http.StatusText(status), status, detail})
}

func answer(w http.ResponseWriter, status int, v any) {
	send(w, status, "application/json", v)
}

// send encodes first, so that a value that can't be encoded is a clean error
// and not half an answer.
func send(w http.ResponseWriter, status int, mediaType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, mediaType = http.StatusInternalServerError, "application/problem+json"
		body = []byte(`{"title":"Internal Server Error","status":500,"detail":"the answer can't be encoded"}`)
	}
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that left needs no answer
}
