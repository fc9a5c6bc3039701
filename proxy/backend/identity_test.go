package backend

import (
	"errors"
	"testing"
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
