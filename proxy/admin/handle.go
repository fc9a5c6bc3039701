package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// route is an endpoint: one method, which for GET includes HEAD, and the role it
// needs. A path that ends in a slash has one more part behind it.
type route struct {
	method string
	path   string
	needs  Role
	serve  func(w http.ResponseWriter, r *request)
}

// request is one that is whole, of somebody who may send it.
type request struct {
	*http.Request
	who  Caller
	body []byte
	rest string // behind the path of a route that ends in a slash
}

// table lists the endpoints that have something behind them.
func (s *Server) table() []*route {
	o := &s.options
	get := func(path string, needs Role, there bool, serve func(http.ResponseWriter, *request)) *route {
		if !there {
			return nil
		}
		return &route{http.MethodGet, path, needs, serve}
	}
	write := func(method, path string, needs Role, there bool, serve func(http.ResponseWriter, *request)) *route {
		if !there {
			return nil
		}
		return &route{method, path, needs, serve}
	}
	all := []*route{
		get("/livez", Anybody, true, s.live),
		get("/readyz", Anybody, true, s.ready),
		get("/openapi.json", Viewer, true, s.describe),
		get("/metrics", Viewer, o.Metrics != nil, func(w http.ResponseWriter, r *request) { o.Metrics.ServeHTTP(w, r.Request) }),
		get("/version", Viewer, o.Version != nil, func(w http.ResponseWriter, _ *request) { answer(w, http.StatusOK, o.Version()) }),
		get("/api/v1/rules", Viewer, o.Rules != nil, list(o.Rules)),
		get("/api/v1/users", Viewer, o.Users != nil, list(o.Users)),
		get("/api/v1/backends", Viewer, o.Backends != nil, list(o.Backends)),
		get("/api/v1/listeners", Viewer, o.Listeners != nil, list(o.Listeners)),
		get("/api/v1/certificates", Viewer, o.Certificates != nil, list(o.Certificates)),
		get("/api/v1/sessions", Viewer, o.Sessions != nil, s.sessions),
		get("/api/v1/events", Viewer, o.Events != nil, s.events),
		write(http.MethodPost, "/api/v1/explain", Viewer, o.Explain != nil, s.explain),
		write(http.MethodDelete, "/api/v1/sessions/", Member, o.EndSession != nil, s.endSession),
		write(http.MethodPost, "/api/v1/reload", Member, o.Reload != nil, s.reload),
		write(http.MethodPost, "/api/v1/drain", Owner, o.Drain != nil, s.drain),
	}
	there := all[:0]
	for _, r := range all {
		if r != nil {
			there = append(there, r)
		}
	}
	return there
}

// action is what the record calls a write.
func (to *route) action(r *http.Request) string {
	if to.method == http.MethodDelete {
		return "end session " + clip(strings.TrimPrefix(r.URL.Path, to.path))
	}
	return to.path[strings.LastIndexByte(to.path, '/')+1:]
}

// clip bounds what a client chose.
func clip(s string) string { return strings.ToValidUTF8(s[:min(len(s), 32)], "?") }

// ServeHTTP implements http.Handler: is it meant for us, who is asking, then what for.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if !s.hostAllowed(r) {
		problem(w, http.StatusMisdirectedRequest, "the Host header does not name this machine")
		return
	}
	s.guard.Handler(http.HandlerFunc(s.dispatch)).ServeHTTP(w, r)
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	to, rest, allow := s.find(r)
	switch {
	case to == nil && allow == "":
		// Who may not look is not told what there is.
		if _, ok := s.authorized(w, r, &route{method: http.MethodGet, needs: Viewer}); ok {
			problem(w, http.StatusNotFound, "no such endpoint")
		}
		return
	case to == nil:
		w.Header().Set("Allow", allow)
		problem(w, http.StatusMethodNotAllowed, "this endpoint takes "+allow)
		return
	}
	who, ok := s.authorized(w, r, to)
	if !ok {
		return
	}
	if to.method != http.MethodGet && !ours(r) {
		problem(w, http.StatusUnsupportedMediaType, "a body has to be application/json")
		return
	}
	most := int64(maxBody)
	if to.path == "/api/v1/explain" {
		most = maxQuestion
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		status := http.StatusBadRequest
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		problem(w, status, "the request's body can't be read")
		return
	}
	defer hold(r.Context())()
	to.serve(w, &request{Request: r, who: who, body: body, rest: rest})
}

// find gives the route of a request, or the methods that its path takes.
func (s *Server) find(r *http.Request) (to *route, rest, allow string) {
	for _, one := range s.routes {
		behind, under := strings.CutPrefix(r.URL.Path, one.path)
		if !under || strings.HasSuffix(one.path, "/") == (behind == "") || strings.Contains(behind, "/") {
			continue
		}
		if r.Method == one.method || one.method == http.MethodGet && r.Method == http.MethodHead {
			return one, behind, ""
		}
		if allow = one.method; allow == http.MethodGet {
			allow = "GET, HEAD"
		}
	}
	return nil, "", allow
}

// ErrForbidden is the error of an Action whose caller had no role for it.
var ErrForbidden = errors.New("the role does not allow it")

func (s *Server) acted(name string, r *http.Request, who Caller, err error) {
	if s.options.Acted != nil {
		s.options.Acted(Action{Time: time.Now(), Name: name, Who: who, Remote: r.RemoteAddr, Err: err})
	}
}

// problemDetails is RFC 9457's object; its type is about:blank, so title is the
// status's own text.
type problemDetails struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Reload is how the last reload ended, where readiness is asked for.
	Reload any `json:"reload,omitempty"`
}

func problem(w http.ResponseWriter, status int, detail string) {
	send(w, status, "application/problem+json", problemDetails{Title: http.StatusText(status), Status: status, Detail: detail})
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

// decode reads one JSON value with known fields only, each once.
func decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind the JSON object")
	}
	return nil
}
