package backend

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/loop"
	"github.com/sallyport/sallyport/proxy/redistest"
)

func TestALoginOfOneBackendIsNobodysAtAnother(t *testing.T) {
	fresh := func() *Backend {
		b, err := New(Options{Nodes: []Endpoint{{"tcp", "127.0.0.1:1"}}, Logins: map[string]UserLogin{
			"alice": {User: "a", Source: "1", Password: func() (string, error) { return "x", nil }},
			"again": {User: "a", Source: "1", Password: func() (string, error) { return "x", nil }},
			"other": {User: "a", Source: "2", Password: func() (string, error) { return "y", nil }},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one, two := fresh(), fresh()
	id := one.Identity("alice")
	if id == 0 || id == one.Identity("other") || id != one.Identity("again") || one.Identity("nobody") != 0 {
		t.Errorf("identities %d, %d, %d, %d", id, one.Identity("other"), one.Identity("again"), one.Identity("nobody"))
	}
	if as, err := one.introduction(Key{As: id}); err != nil || as.user != "a" {
		t.Errorf("introduced as %v, %v", as, err)
	}
	if _, err := two.introduction(Key{As: id}); !errors.Is(err, ErrLogin) {
		t.Errorf("another backend's login is taken: %v", err)
	}
	one.SetLogins(nil)
	if _, err := one.introduction(Key{As: id}); !errors.Is(err, ErrLogin) {
		t.Errorf("a login that is gone is taken: %v", err)
	}
	one.SetLogins(map[string]UserLogin{"alice": {User: "b", Source: "1"}})
	if one.Identity("alice") == id {
		t.Error("another user's connections are taken for this one's")
	}
	if _, err := one.introduction(Key{As: one.Identity("alice")}); err != nil {
		t.Fatal(err)
	}
	if as, _ := one.introduction(Key{As: one.Identity("alice")}); as != nil {
		if _, err := as.password(); !errors.Is(err, ErrLogin) {
			t.Errorf("a login without a password: %v", err)
		}
	}
}

// answered keeps what a call is answered.
type answered chan string

func (a answered) Reply(_ uint64, _ int, p []byte, _ bool) { a <- string(p) }
func (a answered) Fail(uint64, Failure)                    { a <- "failed" }

func TestAConnectionOfALoginIsClosedWhenNobodyHasUsedItForAWhile(t *testing.T) {
	node := redistest.Start(t)
	if _, err := node.Do("ACL", "SETUSER", "a", "on", ">x", "~*", "+@all"); err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{Nodes: ats([]string{node.Addr()}), Logins: map[string]UserLogin{"alice": {User: "a", Password: password("x")}}})
	if err != nil {
		t.Fatal(err)
	}
	group, err := loop.Start(loop.Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(group.Close)
	l := group.Pick()
	on := func(f func()) { // the loop, and waits for it
		t.Helper()
		done := make(chan struct{})
		l.Post(func() { f(); close(done) })
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("the loop does not come to it")
		}
	}
	var pool *Pool
	on(func() { pool = b.Pool(l) })
	t.Cleanup(func() { on(pool.Close); b.Wait() })
	key := Key{Proto: 2, As: b.Identity("alice")}
	ask := func() *Pipeline {
		t.Helper()
		var p *Pipeline
		to := make(answered, 1)
		on(func() {
			p = pool.Pipeline(key)
			if f := p.Send(to, 0, 0, [][]byte{[]byte("ACL"), []byte("WHOAMI")}); f != 0 {
				to <- "not taken"
			}
		})
		select {
		case got := <-to:
			if got != "$1\r\na\r\n" {
				t.Fatalf("answered %q", got)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("no answer")
		}
		return p
	}
	first := ask()
	on(pool.sweep) // it was in use since the last time
	if ask() != first || b.LoginConnections() != 1 {
		t.Fatalf("%d connections, and another one than before", b.LoginConnections())
	}
	on(pool.sweep)
	if b.LoginConnections() != 1 {
		t.Fatal("a connection that was in use is gone")
	}
	on(pool.sweep)
	var gone bool
	if on(func() { gone = first.Gone() }); !gone || b.LoginConnections() != 0 {
		t.Fatalf("%d connections are there, and nobody uses them", b.LoginConnections())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := redistest.Await(ctx, "the node has lost it, too", func() error {
		list, err := node.ClientList()
		for _, c := range list {
			if c["user"] == "a" {
				err = errors.New("it is still there")
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if ask() == first {
		t.Error("a connection that is gone carries calls")
	}
}
