package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// staffed is a server whose tokens are the names of roles.
func staffed(o Options) *Server {
	o.Identify = func(p Proof) (Caller, bool) {
		role, ok := ParseRole(p.Token)
		return Caller{Name: "the " + p.Token, Role: role}, ok
	}
	return New(o)
}

func bearing(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func TestRolesBoundWhatMayBeDone(t *testing.T) {
	var acted []Action
	none := func(context.Context) (any, error) { return []int{}, nil }
	s := staffed(Options{
		Metrics: http.NotFoundHandler(), Version: func() any { return 1 },
		Rules: none, Users: none, Backends: none, Listeners: none, Certificates: none,
		Sessions:   func(context.Context, Page) (any, error) { return 1, nil },
		EndSession: func(context.Context, uint64) (bool, error) { return true, nil },
		Events:     func(int, uint64, []string) ([][]byte, error) { return nil, nil },
		Explain:    func(context.Context, Question) (any, error) { return 1, nil },
		Reload:     func(context.Context, Caller) error { return nil },
		Drain:      func() {},
		Acted:      func(a Action) { acted = append(acted, a) },
	})
	roles := []string{"", "nobody", "viewer", "member", "owner"}
	for _, to := range s.routes {
		path := to.path
		if strings.HasSuffix(path, "/") {
			path += "7"
		}
		for i, token := range roles {
			change := bearing(token)
			if token == "" {
				change = nil
			}
			w := ask(t, s, to.method, path, change)
			mayLook := to.needs == Anybody || i >= 1+int(to.needs)
			switch refused := w.Code == 401 || w.Code == 403; {
			case refused == mayLook:
				t.Errorf("%s %s by %q: status %d", to.method, path, token, w.Code)
			case refused && (w.Code == 401) != (i < 2):
				t.Errorf("%s %s by %q: status %d", to.method, path, token, w.Code)
			case w.Code == 401 && w.Header().Get("WWW-Authenticate") == "":
				t.Error("401 without a way to do better")
			}
		}
	}
	var refused, done []string
	for _, a := range acted {
		if a.Who.Name == "" || a.Remote == "" || a.Time.IsZero() {
			t.Errorf("on record: %+v", a)
		}
		if a.Err != nil {
			refused = append(refused, a.Name+" by "+a.Who.Name)
		} else {
			done = append(done, a.Name+" by "+a.Who.Name)
		}
	}
	if got, want := strings.Join(refused, ", "), "end session 7 by the viewer, reload by the viewer, drain by the viewer, drain by the member"; got != want {
		t.Errorf("refused on record: %s\nwant %s", got, want)
	}
	if got, want := strings.Join(done, ", "), "end session 7 by the member, end session 7 by the owner, reload by the member, reload by the owner, drain by the owner"; got != want {
		t.Errorf("done on record: %s\nwant %s", got, want)
	}
	// Who may not look is not told what there is.
	isProblem(t, ask(t, s, "GET", "/api/v1/secret", nil), 401, "who are you")
	isProblem(t, ask(t, s, "GET", "/api/v1/secret", bearing("viewer")), 404, "no such endpoint")
}

func TestOnlyABearerTokenIsAToken(t *testing.T) {
	s := staffed(Options{Drain: func() { t.Error("drained") }})
	for _, header := range []http.Header{
		{"Authorization": {"Basic b3duZXI="}},
		{"Authorization": {"Bearer"}},
		{"Authorization": {"Bearer "}},
		{"Authorization": {"owner"}},
		{"Authorization": {"Bearer owner", "Bearer owner"}},
		{"Authorization": {"Bearer " + strings.Repeat("x", maxToken+1)}},
		{"Cookie": {"token=owner; Authorization=Bearer owner"}},
		{"X-Authorization": {"Bearer owner"}},
	} {
		if w := ask(t, s, "POST", "/api/v1/drain", func(r *http.Request) { r.Header = header }); w.Code != 401 {
			t.Errorf("%.60v: status %d", header, w.Code)
		}
	}
	if w := ask(t, s, "POST", "/api/v1/drain?token=owner", nil); w.Code != 401 {
		t.Errorf("a token in the address: status %d", w.Code)
	}
}

// Should a handshake ever let somebody in without a certificate, this does not.
func TestWithoutAVerifiedCertificateNothingIsAnsweredElsewhere(t *testing.T) {
	s := staffed(Options{})
	s.mutual = true
	for _, state := range []*tls.ConnectionState{nil, {}, {PeerCertificates: []*x509.Certificate{{}}}} {
		for _, path := range []string{"/livez", "/api/v1/sessions", "/nope"} {
			w := ask(t, s, "GET", path, func(r *http.Request) { r.TLS = state; bearing("owner")(r) })
			if w.Code != 401 {
				t.Errorf("%s: status %d", path, w.Code)
			}
		}
	}
	verified := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}}
	if w := ask(t, s, "GET", "/livez", func(r *http.Request) { r.TLS = verified }); w.Code != 200 {
		t.Errorf("/livez with a certificate: status %d", w.Code)
	}
}

func TestHostsOverTLSAreThoseOfTheCertificate(t *testing.T) {
	s := New(Options{Named: func(h string) bool { return h == "sallyport.internal" }})
	for host, want := range map[string]int{"sallyport.internal:9380": 200, "10.0.0.1:9380": 200, "evil.example": 421} {
		if w := ask(t, s, "GET", "/livez", func(r *http.Request) { r.Host, r.TLS = host, &tls.ConnectionState{} }); w.Code != want {
			t.Errorf("%s over TLS: status %d, want %d", host, w.Code, want)
		}
	}
	if w := ask(t, s, "GET", "/livez", func(r *http.Request) { r.Host = "sallyport.internal" }); w.Code != 421 {
		t.Errorf("the certificate's name over plain HTTP: status %d", w.Code)
	}
}

// What a form of another site can send without asking first is no JSON.
func TestWritesAreJSONOrEmpty(t *testing.T) {
	drained := 0
	s := New(Options{Drain: func() { drained++ }})
	send := func(kind, body string) func(*http.Request) {
		return func(r *http.Request) {
			*r = *r.Clone(t.Context())
			r.Body, r.ContentLength = http.NoBody, int64(len(body))
			if body != "" {
				r.Body = readCloser{strings.NewReader(body)}
			}
			if kind != "" {
				r.Header.Set("Content-Type", kind)
			}
		}
	}
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", "application/json, text/plain", ";"} {
		isProblem(t, ask(t, s, "POST", "/api/v1/drain", send(kind, "{}")), 415, "application/json")
		isProblem(t, ask(t, s, "POST", "/api/v1/drain", send(kind, "")), 415, "application/json")
	}
	isProblem(t, ask(t, s, "POST", "/api/v1/drain", send("", "{}")), 415, "application/json")
	if drained != 0 {
		t.Fatal("drained")
	}
	isAnswer(t, ask(t, s, "POST", "/api/v1/drain", send("application/json; charset=utf-8", "{}")), 202, `{"status":"draining"}`)
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func TestSessionsAreAskedForAPageAtATime(t *testing.T) {
	var got Page
	ended := uint64(0)
	s := New(Options{
		Sessions:   func(_ context.Context, p Page) (any, error) { got = p; return []int{}, nil },
		EndSession: func(_ context.Context, id uint64) (bool, error) { ended = id; return id == 7, nil },
	})
	isAnswer(t, ask(t, s, "GET", "/api/v1/sessions?after=5&limit=10&user=app&listener=g", nil), 200, `[]`)
	if got != (Page{5, 10, "app", "g"}) {
		t.Errorf("asked for %+v", got)
	}
	isAnswer(t, ask(t, s, "GET", "/api/v1/sessions", nil), 200, `[]`)
	if got != (Page{Limit: 100}) {
		t.Errorf("asked for %+v", got)
	}
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "after=-1", "after=x", "lim=1", "limit=1&limit=2"} {
		isProblem(t, ask(t, s, "GET", "/api/v1/sessions?"+query, nil), 400, "")
	}
	isAnswer(t, ask(t, s, "DELETE", "/api/v1/sessions/7", nil), 200, `{"status":"ended"}`)
	for _, path := range []string{"8", "0", "-1", "x", "18446744073709551616"} {
		ended = 0
		isProblem(t, ask(t, s, "DELETE", "/api/v1/sessions/"+path, nil), 404, "no such session")
		if ended != 0 && path != "8" {
			t.Errorf("%s ended %d", path, ended)
		}
	}
	isProblem(t, ask(t, s, "DELETE", "/api/v1/sessions/7/8", nil), 404, "no such endpoint")
	isProblem(t, ask(t, s, "GET", "/api/v1/sessions/7", nil), 405, "DELETE")
}

func TestEventsAndExplanations(t *testing.T) {
	s := New(Options{
		Events: func(n int, after uint64, kinds []string) ([][]byte, error) {
			if len(kinds) > 0 && kinds[0] == "no" {
				return nil, errors.New("no such kind")
			}
			return [][]byte{[]byte(`{"seq":1}`)}, nil
		},
		Explain: func(_ context.Context, q Question) (any, error) {
			if q.From == "bad" {
				return nil, ErrQuestion
			}
			return q.Command, nil
		},
	})
	isAnswer(t, ask(t, s, "GET", "/api/v1/events?limit=1&after=0&kind=admin,reload", nil), 200, `{"events":[{"seq":1}]}`)
	isProblem(t, ask(t, s, "GET", "/api/v1/events?kind=no", nil), 400, "no such kind")
	question := func(body string) func(*http.Request) {
		return func(r *http.Request) {
			r.Body, r.ContentLength = readCloser{strings.NewReader(body)}, int64(len(body))
			r.Header.Set("Content-Type", "application/json")
		}
	}
	isAnswer(t, ask(t, s, "POST", "/api/v1/explain", question(`{"user":"app","command":["GET","a"]}`)), 200, `["GET","a"]`)
	for _, bad := range []string{``, `{`, `[]`, `{"user":"app"}`, `{"command":["GET"]}`, `{"user":"app","command":["GET"],"more":1}`, `{"user":"app","command":["GET"]}{}`, `{"user":"app","command":["GET"],"from":"bad"}`} {
		if w := ask(t, s, "POST", "/api/v1/explain", question(bad)); w.Code != 400 {
			t.Errorf("%s: status %d", bad, w.Code)
		}
	}
	isProblem(t, ask(t, s, "POST", "/api/v1/explain", question(`"`+strings.Repeat("x", maxQuestion)+`"`)), 413, "body")
}

// Every endpoint is in the document, and the other way round.
func TestTheDocumentHasEveryEndpoint(t *testing.T) {
	none := func(context.Context) (any, error) { return nil, nil }
	s := New(Options{
		Metrics: http.NotFoundHandler(), Version: func() any { return 1 }, Rules: none, Users: none, Backends: none, Listeners: none, Certificates: none,
		Sessions: func(context.Context, Page) (any, error) { return 1, nil }, EndSession: func(context.Context, uint64) (bool, error) { return true, nil },
		Events: func(int, uint64, []string) ([][]byte, error) { return nil, nil }, Explain: func(context.Context, Question) (any, error) { return 1, nil },
		Reload: func(context.Context, Caller) error { return nil }, Drain: func() {},
	})
	w := ask(t, s, "GET", "/openapi.json", nil)
	if few := ask(t, New(Options{}), "GET", "/openapi.json", nil).Body.String(); strings.Contains(few, "/api/v1/") || !strings.Contains(few, "/livez") {
		t.Errorf("what is not there is described: %s", few)
	}
	var document struct {
		Paths map[string]map[string]struct {
			Summary   string
			Responses map[string]any
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	for _, to := range s.routes {
		path := to.described()
		method := strings.ToLower(to.method)
		there[method+" "+path] = true
		said, ok := document.Paths[path][method]
		if !ok || said.Summary == "" || len(said.Responses) == 0 {
			t.Errorf("%s %s is not described", method, path)
		}
		if to.needs > Viewer && !strings.Contains(said.Summary, "role "+to.needs.String()) {
			t.Errorf("%s %s does not say that it needs the role %s", method, path, to.needs)
		}
	}
	for path, methods := range document.Paths {
		for method := range methods {
			if !there[method+" "+path] {
				t.Errorf("%s %s is described and not there", method, path)
			}
		}
	}
}

func TestReadinessTellsOfTheLastReload(t *testing.T) {
	var why error
	s := New(Options{Ready: func() error { return why }, Reloaded: func() any { return map[string]string{"status": "failed"} }})
	isAnswer(t, ask(t, s, "GET", "/readyz", nil), 200, `{"status":"ok","reload":{"status":"failed"}}`)
	why = errors.New("backend main is not connected")
	w := ask(t, s, "GET", "/readyz", nil)
	isProblem(t, w, 503, "backend main")
	if !strings.Contains(w.Body.String(), `"reload":{"status":"failed"}`) {
		t.Errorf("%s says nothing of the reload", w.Body)
	}
}

// Who tries tokens learns that one is nobody's after a fixed time, wherever it is
// tried; a token that is somebody's, and a request without any, wait for nothing.
func TestATokenThatIsNobodysIsRefusedAfterAFixedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := staffed(Options{FailureDelay: 100 * time.Millisecond, Version: func() any { return 1 }, Drain: func() {}})
		for _, c := range []struct {
			method, path, token string
			status              int
			took                time.Duration
		}{
			{"GET", "/version", "guess", 401, 100 * time.Millisecond},
			{"GET", "/nope", "guess", 401, 100 * time.Millisecond},
			{"POST", "/api/v1/drain", "guess", 401, 100 * time.Millisecond},
			{"GET", "/version", "viewer", 200, 0},
			{"POST", "/api/v1/drain", "viewer", 403, 0},
			{"GET", "/version", "", 401, 0},
			{"GET", "/livez", "guess", 200, 0},
		} {
			change := bearing(c.token)
			if c.token == "" {
				change = nil
			}
			began := time.Now()
			if w := ask(t, s, c.method, c.path, change); w.Code != c.status || time.Since(began) != c.took {
				t.Errorf("%s %s by %q: status %d after %v, want %d after %v", c.method, c.path, c.token, w.Code, time.Since(began), c.status, c.took)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		ask(t, s, "GET", "/version", func(r *http.Request) { *r = *r.WithContext(ctx); bearing("guess")(r) })
		if time.Since(began) != 0 {
			t.Error("who has left is waited for")
		}
	})
}
