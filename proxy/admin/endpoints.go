package admin

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// ErrQuestion is wrapped by errors about what was asked, not about answering it.
var ErrQuestion = errors.New("the question is no good")

// Page is which of a long list to show.
type Page struct {
	After    uint64 // numbers above it
	Limit    int    // 1 to MaxPage
	User     string // empty: anybody's
	Listener string // empty: any
}

// MaxPage is how many entries an answer has at most.
const MaxPage = 1000

// Question is what POST /api/v1/explain asks.
type Question struct {
	User     string   `json:"user"`
	Command  []string `json:"command"`
	From     string   `json:"from"`     // an address, or unix; empty: wherever
	Listener string   `json:"listener"` // empty: any
}

//go:embed openapi.json
var openapi []byte

// describe serves the OpenAPI document, as far as there is something behind it.
func (s *Server) describe(w http.ResponseWriter, _ *request) {
	answer(w, http.StatusOK, s.document)
}

// document is the OpenAPI document of the endpoints there are.
func document(routes []*route) map[string]any {
	var d map[string]any
	if err := json.Unmarshal(openapi, &d); err != nil {
		return nil // the tests read it
	}
	paths, _ := d["paths"].(map[string]any)
	for path := range paths {
		if !slices.ContainsFunc(routes, func(r *route) bool { return r.described() == path }) {
			delete(paths, path)
		}
	}
	return d
}

// described is the route's path in the document.
func (to *route) described() string {
	if strings.HasSuffix(to.path, "/") {
		return to.path + "{id}"
	}
	return to.path
}

func (s *Server) live(w http.ResponseWriter, _ *request) {
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readiness is the answer of /readyz while it holds.
type readiness struct {
	Status string `json:"status"`
	Reload any    `json:"reload,omitempty"`
}

func (s *Server) ready(w http.ResponseWriter, _ *request) {
	var reload any
	if s.options.Reloaded != nil {
		reload = s.options.Reloaded()
	}
	why := ""
	if s.draining.Load() {
		why = "draining"
	} else if s.options.Ready != nil {
		if err := s.options.Ready(); err != nil {
			why = err.Error()
		}
	}
	if why != "" {
		const status = http.StatusServiceUnavailable
		send(w, status, "application/problem+json", problemDetails{http.StatusText(status), status, why, reload})
		return
	}
	answer(w, http.StatusOK, readiness{"ok", reload})
}

// list answers with what f gathers.
func list(f func(context.Context) (any, error)) func(http.ResponseWriter, *request) {
	return func(w http.ResponseWriter, r *request) {
		items, err := f(r.Context())
		if err != nil {
			problem(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, items)
	}
}

// query reads the parameters of a list; every other one is a fault.
func (r *request) query(others ...string) (p Page, err error) {
	p.Limit = 100
	for key, values := range r.URL.Query() {
		if len(values) != 1 {
			return p, errors.New("a parameter stands twice: " + clip(key))
		}
		v := values[0]
		known := slices.Contains(others, key)
		switch {
		case key == "limit":
			if p.Limit, err = strconv.Atoi(v); err != nil || p.Limit < 1 || p.Limit > MaxPage {
				return p, errors.New("limit is a number from 1 to " + strconv.Itoa(MaxPage))
			}
		case key == "after":
			if p.After, err = strconv.ParseUint(v, 10, 64); err != nil {
				return p, errors.New("after is a number")
			}
		case known && key == "user":
			p.User = v
		case known && key == "listener":
			p.Listener = v
		case known:
		default:
			return p, errors.New("unknown parameter " + clip(key))
		}
	}
	return p, nil
}

func (s *Server) sessions(w http.ResponseWriter, r *request) {
	page, err := r.query("user", "listener")
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	list(func(ctx context.Context) (any, error) { return s.options.Sessions(ctx, page) })(w, r)
}

func (s *Server) events(w http.ResponseWriter, r *request) {
	page, err := r.query("kind")
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	var kinds []string
	if k := r.URL.Query().Get("kind"); k != "" {
		kinds = strings.Split(k, ",")
	}
	lines, err := s.options.Events(page.Limit, page.After, kinds)
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	events := make([]json.RawMessage, len(lines))
	for i, l := range lines {
		events[i] = l
	}
	answer(w, http.StatusOK, map[string]any{"events": events})
}

func (s *Server) explain(w http.ResponseWriter, r *request) {
	var q Question
	if err := decode(r.body, &q); err != nil {
		problem(w, http.StatusBadRequest, "the question can't be read: "+err.Error())
		return
	}
	if q.User == "" || len(q.Command) == 0 {
		problem(w, http.StatusBadRequest, "user and command are needed")
		return
	}
	said, err := s.options.Explain(r.Context(), q)
	switch {
	case errors.Is(err, ErrQuestion):
		problem(w, http.StatusBadRequest, err.Error())
	case err != nil:
		problem(w, http.StatusServiceUnavailable, err.Error())
	default:
		answer(w, http.StatusOK, said)
	}
}

func (s *Server) endSession(w http.ResponseWriter, r *request) {
	id, err := strconv.ParseUint(r.rest, 10, 64)
	if err != nil || id == 0 {
		problem(w, http.StatusNotFound, "no such session")
		return
	}
	name := "end session " + strconv.FormatUint(id, 10)
	there, err := s.options.EndSession(r.Context(), id)
	switch {
	case err != nil:
		s.acted(name, r.Request, r.who, err)
		problem(w, http.StatusServiceUnavailable, err.Error())
	case !there:
		s.acted(name, r.Request, r.who, errors.New("no such session"))
		problem(w, http.StatusNotFound, "no such session")
	default:
		s.acted(name, r.Request, r.who, nil)
		answer(w, http.StatusOK, map[string]string{"status": "ended"})
	}
}

// drain begins the drain. Asking again is fine and changes nothing.
func (s *Server) drain(w http.ResponseWriter, r *request) {
	if s.draining.CompareAndSwap(false, true) {
		s.acted("drain", r.Request, r.who, nil)
		s.options.Drain()
	}
	answer(w, http.StatusAccepted, map[string]string{"status": "draining"})
}

func (s *Server) reload(w http.ResponseWriter, r *request) {
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
	err := s.options.Reload(ctx, r.who)
	s.acted("reload", r.Request, r.who, err)
	if err != nil {
		problem(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "reloaded"})
}
