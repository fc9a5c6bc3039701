package proxy_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

func TestAClientThatSelectsEveryDatabaseDoesNotTakeTheNodesConnections(t *testing.T) {
	const databases = 300
	node := redistest.Start(t, redistest.Args("--databases", strconv.Itoa(databases)))
	r := withRig(t, node.Addr(), func(s *setup) { s.workers = 1 })
	c, stays := r.login("app"), r.login("app")
	r.want(stays, "OK", "SELECT", "7")
	r.want(stays, "OK", "SET", "app:stays", "here")
	for db := range databases {
		n := strconv.Itoa(db)
		r.want(c, "OK", "SELECT", n)
		r.want(c, "OK", "SET", "app:db", n)
	}
	var n int
	eventually(t, 5*time.Second, "retired connections are gone at the node", func() bool {
		clients, err := node.ClientList()
		if err != nil {
			t.Fatal(err)
		}
		n = 0
		for _, c := range clients {
			if c["name"] == "sallyport" {
				n++
			}
		}
		return n <= 64
	})
	if n == 0 {
		t.Error("no connection to the node has the proxy's name")
	}
	r.want(stays, "here", "GET", "app:stays") // its connection was retired meanwhile
	for db := range databases {
		n := strconv.Itoa(db)
		r.want(c, "OK", "SELECT", n)
		r.want(c, n, "GET", "app:db")
	}
	r.want(stays, "here", "GET", "app:stays")
}
