package proxy_test

import (
	"testing"

	"github.com/sallyport/sallyport/proxy/redistest"
)

func TestRulesTellHowOftenTheyDecided(t *testing.T) {
	redis := redistest.Start(t)
	r := withRig(t, redis.Addr(), func(s *setup) { s.users["app"] = "on ~app:* +@read +set" })
	c := r.login("app")
	for range 3 {
		r.want(c, "<nil>", "GET", "app:none")
	}
	r.want(c, "OK", "SET", "app:a", "1")
	r.want(c, "NOPERM User app has no permissions to run the 'incr' command", "INCR", "app:a")
	rules, err := r.server.Rules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, rule := range rules {
		if rule.Owner == "user app" {
			got[rule.Rule] = rule.Hits
		}
	}
	if got["+@read"] != 3 || got["+set"] != 1 {
		t.Fatalf("user app's rules decided %v", got)
	}
}
