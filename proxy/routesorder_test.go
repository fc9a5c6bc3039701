package proxy

import (
	"testing"

	"github.com/sallyport/sallyport/proxy/backend"
)

// RANDOMKEY goes to any of several backends. What is owed over a connection that its
// backend does not use any more is not overtaken by what follows.
func TestARandomKeyOvertakesNothingThatIsOwed(t *testing.T) {
	table, err := backend.NewPrefixes("a", []backend.Prefix{{Prefix: "b:", Backend: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	st := newStage(t, 1, 3)
	a, was, is := st.nodes[0], st.nodes[1], st.nodes[2]
	at := map[string]*node{"a": a, "b": was}
	st.w.pipeline = func(name string, _ backend.Key) *backend.Pipeline { return at[name].pipe }
	s := st.sessions[0].s
	s.facts.backend = "a"
	s.routes = &routes{table: table, sides: []side{{name: "a"}, {name: "b"}}}
	s.routes.unite()
	s.feed([]byte("GET b:1\r\n"))
	if len(was.link.out) == 0 {
		t.Fatal("the first call has not left")
	}
	s.pipe, at["b"] = backend.Departed(), is
	for range 64 {
		s.feed([]byte("RANDOMKEY\r\n"))
	}
	s.feed([]byte("GET b:2\r\n"))
	if out := is.link.out; len(out) > 0 {
		t.Fatalf("%q left while a call before it is owed its reply", out)
	}
	if s.held == nil {
		t.Fatal("nothing waits")
	}
}
