package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// ask sends one request to a server as a local tool would.
func ask(t *testing.T, s *Server, method, path string, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.Host = "127.0.0.1:9380"
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// isProblem fails unless w is a problem details object of that status.
func isProblem(t *testing.T, w *httptest.ResponseRecorder, status int, detail string) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("status %d (%s), want %d", w.Code, w.Body, status)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	var p problemDetails
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	if p.Status != status || p.Title != http.StatusText(status) || !strings.Contains(p.Detail, detail) {
		t.Errorf("problem %+v, want status %d and %q", p, status, detail)
	}
}

func isAnswer(t *testing.T, w *httptest.ResponseRecorder, status int, body string) {
	t.Helper()
	if w.Code != status || strings.TrimSpace(w.Body.String()) != body {
		t.Errorf("status %d, body %s; want %d, %s", w.Code, w.Body, status, body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
}

func TestLookingEndpoints(t *testing.T) {
	s := New(Options{
		Metrics:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "sallyport_connections 1\n") }),
		Version:  func() any { return map[string]string{"version": "1.2.3"} },
		Sessions: func(context.Context, Page) (any, error) { return []map[string]int{{"id": 7}}, nil },
	})
	isAnswer(t, ask(t, s, "GET", "/livez", nil), 200, `{"status":"ok"}`)
	isAnswer(t, ask(t, s, "GET", "/readyz", nil), 200, `{"status":"ok"}`)
	isAnswer(t, ask(t, s, "GET", "/version", nil), 200, `{"version":"1.2.3"}`)
	isAnswer(t, ask(t, s, "GET", "/api/v1/sessions", nil), 200, `[{"id":7}]`)
	if w := ask(t, s, "GET", "/metrics", nil); w.Code != 200 || w.Body.String() != "sallyport_connections 1\n" {
		t.Errorf("metrics: %d %s", w.Code, w.Body)
	}
	if w := ask(t, s, "HEAD", "/livez", nil); w.Code != 200 {
		t.Errorf("HEAD /livez: %d", w.Code)
	}
}

func TestReadyGivesTheReasonItIsNot(t *testing.T) {
	var why error
	s := New(Options{Ready: func() error { return why }})
	isAnswer(t, ask(t, s, "GET", "/readyz", nil), 200, `{"status":"ok"}`)
	why = errors.New("no backend answers")
	isProblem(t, ask(t, s, "GET", "/readyz", nil), 503, "no backend answers")
	isAnswer(t, ask(t, s, "GET", "/livez", nil), 200, `{"status":"ok"}`) // alive all the same
}

func TestDrainHappensOnceAndEndsReadiness(t *testing.T) {
	drains := 0
	var acted []Action
	s := New(Options{Drain: func() { drains++ }, Acted: func(a Action) { acted = append(acted, a) }})
	isAnswer(t, ask(t, s, "POST", "/api/v1/drain", nil), 202, `{"status":"draining"}`)
	isAnswer(t, ask(t, s, "POST", "/api/v1/drain", nil), 202, `{"status":"draining"}`)
	if drains != 1 {
		t.Errorf("%d drains, want 1", drains)
	}
	isProblem(t, ask(t, s, "GET", "/readyz", nil), 503, "draining")
	if len(acted) != 1 || acted[0].Name != "drain" || acted[0].Remote == "" || acted[0].Err != nil || acted[0].Time.IsZero() {
		t.Errorf("on record: %+v", acted)
	}
}

func TestReload(t *testing.T) {
	var result error
	var acted []Action
	s := New(Options{
		Reload: func(ctx context.Context, _ Caller) error {
			if _, limited := ctx.Deadline(); !limited {
				t.Error("a reload without a time limit")
			}
			return result
		},
		Acted: func(a Action) { acted = append(acted, a) },
	})
	isAnswer(t, ask(t, s, "POST", "/api/v1/reload", nil), 200, `{"status":"reloaded"}`)
	result = errors.New(`policy.yaml:14:9: unknown category "@raed"`)
	isProblem(t, ask(t, s, "POST", "/api/v1/reload", nil), 422, "policy.yaml:14:9")
	if len(acted) != 2 || acted[0].Err != nil || !errors.Is(acted[1].Err, result) || acted[1].Name != "reload" {
		t.Errorf("on record: %+v", acted)
	}
}

func TestOneReloadAtATime(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	s := New(Options{Reload: func(context.Context, Caller) error {
		close(begun)
		<-goOn
		return nil
	}})
	first := make(chan int)
	go func() {
		r := httptest.NewRequest("POST", "/api/v1/reload", nil)
		r.Host = "localhost"
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		first <- w.Code
	}()
	<-begun
	isProblem(t, ask(t, s, "POST", "/api/v1/reload", nil), 409, "under way")
	close(goOn)
	if code := <-first; code != 200 {
		t.Errorf("the first reload: %d", code)
	}
}

func TestReloadIsNotCutByAClientThatLeaves(t *testing.T) {
	var during error
	s := New(Options{Reload: func(ctx context.Context, _ Caller) error { during = ctx.Err(); return nil }})
	gone, leave := context.WithCancel(t.Context())
	leave()
	ask(t, s, "POST", "/api/v1/reload", func(r *http.Request) { *r = *r.WithContext(gone) })
	if during != nil {
		t.Errorf("the reload's context ended: %v", during)
	}
}

func TestErrorsAreProblemDetails(t *testing.T) {
	s := New(Options{
		Drain:    func() { t.Error("drained") },
		Sessions: func(context.Context, Page) (any, error) { return nil, errors.New("loops are busy") },
		Version:  func() any { return make(chan int) },
	})
	isProblem(t, ask(t, s, "GET", "/nope", nil), 404, "no such endpoint")
	isProblem(t, ask(t, s, "GET", "/livez/../api/v1/drain", nil), 404, "")
	isProblem(t, ask(t, s, "POST", "/api/v1/reload", nil), 404, "") // nothing behind it
	isProblem(t, ask(t, s, "GET", "/api/v1/sessions", nil), 503, "loops are busy")
	isProblem(t, ask(t, s, "GET", "/version", nil), 500, "can't be encoded")

	w := ask(t, s, "GET", "/api/v1/drain", nil)
	isProblem(t, w, 405, "POST")
	if got := w.Header().Get("Allow"); got != "POST" {
		t.Errorf("Allow: %q", got)
	}
	w = ask(t, s, "DELETE", "/livez", nil)
	isProblem(t, w, 405, "GET")
	if got := w.Header().Get("Allow"); got != "GET, HEAD" {
		t.Errorf("Allow: %q", got)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	s := New(Options{Drain: func() {}})
	send := func(n int) func(*http.Request) {
		return func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", n)))
			r.ContentLength = -1
			r.Header.Set("Content-Type", "application/json")
		}
	}
	isProblem(t, ask(t, s, "POST", "/api/v1/drain", send(maxBody+1)), 413, "body")
	if s.draining.Load() {
		t.Error("drained all the same")
	}
	isAnswer(t, ask(t, s, "POST", "/api/v1/drain", send(2)), 202, `{"status":"draining"}`)
}

func TestHostMustNameThisMachine(t *testing.T) {
	s := New(Options{Hosts: []string{"Sidecar.internal"}})
	tests := []struct {
		host string
		want int
	}{
		{"127.0.0.1:9380", 200},
		{"127.0.0.1", 200},
		{"127.8.9.1:9380", 200},
		{"localhost:9380", 200},
		{"LOCALHOST.", 200},
		{"[::1]:9380", 200},
		{"[::1]", 200},
		{"[::ffff:127.0.0.1]:9380", 200},
		{"sidecar.internal:9380", 200},
		{"", 421},
		{"evil.example", 421},
		{"localhost.evil.example", 421},
		{"127.0.0.1.evil.example:9380", 421},
		{"10.0.0.1:9380", 421},
		{"0.0.0.0:9380", 421},
		{"[::]:9380", 421},
		{"2130706433", 421},
		{"localhost@evil.example", 421},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.host, "/", "_"), func(t *testing.T) {
			w := ask(t, s, "GET", "/livez", func(r *http.Request) { r.Host = tt.host })
			if w.Code != tt.want {
				t.Errorf("status %d, want %d", w.Code, tt.want)
			}
			if tt.want != 200 {
				isProblem(t, w, tt.want, "Host")
			}
		})
	}
}

func TestWritesFromAnotherSiteAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		header map[string]string
		want   int
	}{
		{"a_tool_sends_neither", nil, 202},
		{"same_origin", map[string]string{"Sec-Fetch-Site": "same-origin"}, 202},
		{"typed_by_the_user", map[string]string{"Sec-Fetch-Site": "none"}, 202},
		{"own_origin_of_an_old_browser", map[string]string{"Origin": "http://127.0.0.1:9380"}, 202},
		{"cross_site", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"another_port_of_this_machine", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		{"foreign_origin", map[string]string{"Origin": "https://evil.example"}, 403},
		{"opaque_origin", map[string]string{"Origin": "null"}, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			drained := false
			s := New(Options{Drain: func() { drained = true }})
			w := ask(t, s, "POST", "/api/v1/drain", func(r *http.Request) {
				for k, v := range tt.header {
					r.Header.Set(k, v)
				}
			})
			if w.Code != tt.want || drained != (tt.want == 202) {
				t.Errorf("status %d, drained %v; want %d", w.Code, drained, tt.want)
			}
			if tt.want == 403 {
				isProblem(t, w, 403, "another site")
			}
		})
	}
}

func TestAnswersAreForNoCacheAndNoOtherSite(t *testing.T) {
	h := ask(t, New(Options{}), "GET", "/livez", nil).Header()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if h.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, h.Get(name), want)
		}
	}
	if got := h.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("other origins may read: %q", got)
	}
}
