package acl

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/acl/command"
)

func TestTheSlowestHashIsThatOfTheUserWhoCostsMost(t *testing.T) {
	hash := func(params string) Text {
		return Text{Value: "$argon2id$v=19$" + params + "$" + strings.Repeat("A", 22) + "$" + strings.Repeat("A", 43)}
	}
	src := Source{Table: command.Newest(), Users: []UserSource{
		{Name: Text{Value: "a"}, Rules: Text{Value: "on"}, PasswordHashes: []Text{hash("m=64,t=9,p=1")}},
		{Name: Text{Value: "b"}, Rules: Text{Value: "on"}, PasswordHashes: []Text{hash("m=128,t=3,p=2"), hash("m=64,t=1,p=1")}},
		{Name: Text{Value: "c"}, Rules: Text{Value: "on >x"}},
	}}
	p, problems := Compile(src)
	if p == nil {
		t.Fatal(problems)
	}
	if got, want := p.SlowHash(), (SlowHash{128, 3, 2, 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	p.SlowHash().Spend()
	src.Users = src.Users[2:]
	if p, problems = Compile(src); p == nil {
		t.Fatal(problems)
	}
	if p.SlowHash() != (SlowHash{}) {
		t.Error("nobody has a slow hash")
	}
}
