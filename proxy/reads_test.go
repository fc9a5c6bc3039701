package proxy_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/backend"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// readingFrom is a proxy in front of a primary and replicas that are read from.
func readingFrom(t *testing.T, replicas int, reads backend.Reading, change func(*backend.Routing)) (*redistest.Replicated, *rig) {
	t.Helper()
	g := redistest.StartReplicated(t, replicas)
	var nodes []string
	for _, s := range g.Servers {
		nodes = append(nodes, s.Addr())
	}
	r := withRig(t, "", func(s *setup) {
		s.users["root"] = everything + " +eval_ro +evalsha_ro +script|load +keys +flushall +info +multi"
		s.backend.Nodes = endpoints(nodes)
		s.backend.Routing = backend.Routing{Kind: backend.Replicated, Reads: reads, Refresh: 100 * time.Millisecond, Wait: 20 * time.Second}
		if change != nil {
			change(&s.backend.Routing)
		}
	})
	return g, r
}

// calls is how often a server has run a command.
func calls(t testing.TB, s *redistest.Server, name string) int64 {
	t.Helper()
	stats, err := s.CommandStats()
	if err != nil {
		t.Fatal(err)
	}
	return stats[name].Calls
}

// reaches waits until GET of a session runs on a server.
func (r *rig) reaches(c *redistest.Client, s *redistest.Server, key string) {
	r.t.Helper()
	stats := func() int64 {
		all, err := s.CommandStats()
		if err != nil {
			r.t.Fatal(err)
		}
		return all["get"].Calls
	}
	eventually(r.t, 20*time.Second, "reads go to "+s.Addr(), func() bool {
		before := stats()
		if _, err := c.Do("GET", key); err != nil {
			r.t.Fatal(err)
		}
		return stats() > before
	})
}

// inStep waits until the replicas have all that the primary has.
func inStep(t *testing.T, g *redistest.Replicated) {
	t.Helper()
	if _, err := g.Servers[0].Do("PING"); err != nil { // WAIT speaks of what was there at a connection's last call
		t.Fatal(err)
	}
	if _, err := g.Servers[0].Do("WAIT", fmt.Sprint(len(g.Servers)-1), "10000"); err != nil {
		t.Fatal(err)
	}
}

func TestWhatOnlyReadsGoesToTheReplicaAndWhatWritesNever(t *testing.T) {
	g, r := readingFrom(t, 1, backend.ReadPreferReplica, nil)
	primary, replica := g.Servers[0], g.Servers[1]
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "v")
	r.want(c, "1", "HSET", "h", "f", "1")
	r.want(c, "1", "PFADD", "hll", "a")
	inStep(t, g)
	r.reaches(c, replica, "k")
	for _, s := range g.Servers {
		if _, err := s.Do("CONFIG", "RESETSTAT"); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		r.want(c, "v", "GET", "k")
	}
	r.want(c, "[v <nil>]", "MGET", "k", "absent")
	r.want(c, "1", "EXISTS", "k")
	r.want(c, "1", "PFCOUNT", "hll")
	r.want(c, "v", "EVAL_RO", "return redis.call('GET', KEYS[1])", "1", "k")
	for name, n := range map[string]int64{"get": 50, "mget": 1, "exists": 1, "pfcount": 1, "eval_ro": 1} {
		if at := calls(t, replica, name); name != "get" && at != n || name == "get" && at != n+1 { // one of the script
			t.Errorf("%s ran %d times on the replica", name, at)
		}
		if at := calls(t, primary, name); at != 0 {
			t.Errorf("%s ran %d times on the primary", name, at)
		}
	}
	r.want(c, "OK", "SET", "k", "w")
	r.want(c, "[0 [f 1]]", "HSCAN", "h", "0")
	r.want(c, "1", "TOUCH", "k")
	if _, err := c.Do("KEYS", "*"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do("SCAN", "0"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hscan", "touch", "keys", "scan"} {
		if calls(t, replica, name) != 0 || calls(t, primary, name) != 1 {
			t.Errorf("%s was not asked of the primary alone", name)
		}
	}
	stats, err := replica.CommandStats()
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range stats {
		if n.Rejected > 0 && name != "ping" { // before it was up
			t.Errorf("%s was sent to the replica, which refused it", name)
		}
	}
	// A script that the replica does not have runs on the primary.
	sha, err := c.Do("SCRIPT", "LOAD", "return 7")
	if err != nil {
		t.Fatal(err)
	}
	r.want(c, "7", "EVALSHA_RO", fmt.Sprint(sha), "1", "k")
	for _, b := range r.server.Backends() {
		for _, n := range b.Nodes {
			if want := map[string]string{primary.Addr(): "primary", replica.Addr(): "replica"}[n.Address]; n.Role != want || !n.Read {
				t.Errorf("%+v is no readable %s", n, want)
			}
		}
	}
	if n := r.scrape(t).value(`sallyport_reads_total{role="replica"}`); n < 50 {
		t.Errorf("%v reads of replicas are counted", n)
	}
}

// What a session does over a connection of its own is one piece with what it reads.
func TestATransactionAndASessionOnAConnectionOfItsOwnReadThePrimary(t *testing.T) {
	g, r := readingFrom(t, 1, backend.ReadPreferReplica, nil)
	replica := g.Servers[1]
	c, watching := r.login("root"), r.login("root")
	r.want(c, "OK", "SET", "k", "v")
	inStep(t, g)
	r.reaches(c, replica, "k")
	before := calls(t, replica, "get")
	r.want(watching, "OK", "WATCH", "k")
	r.want(watching, "v", "GET", "k")
	r.want(watching, "OK", "MULTI")
	r.want(watching, "QUEUED", "GET", "k")
	r.want(watching, "[v]", "EXEC")
	if after := calls(t, replica, "get"); after != before {
		t.Fatalf("%d reads of a session with a connection of its own went to the replica", after-before)
	}
	r.want(watching, "v", "GET", "k")
	if after := calls(t, replica, "get"); after != before+1 {
		t.Fatal("a session whose transaction is over does not read from the replica again")
	}
}

// Replies leave in the order of the calls, wherever they come from.
func TestRepliesOfAReplicaAndOfThePrimaryLeaveInOrder(t *testing.T) {
	g, r := readingFrom(t, 2, backend.ReadPreferReplica, nil)
	c := r.login("root")
	for i := range 20 {
		r.want(c, "OK", "SET", fmt.Sprintf("fixed:%d", i), fmt.Sprintf("v%d", i))
	}
	inStep(t, g)
	eventually(t, 20*time.Second, "a replica is read from", func() bool {
		r.want(c, "v0", "GET", "fixed:0")
		return calls(t, g.Servers[1], "get")+calls(t, g.Servers[2], "get") > 0
	})
	for i := range 600 {
		var err error
		if i%3 == 0 {
			err = c.Send("INCR", "n")
		} else {
			err = c.Send("GET", fmt.Sprintf("fixed:%d", i%20))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 600 {
		got, err := c.Receive()
		want := any(fmt.Sprintf("v%d", i%20))
		if i%3 == 0 {
			want = int64(i/3 + 1)
		}
		if err != nil || got != want {
			t.Fatalf("reply %d is %v, %v, not %v", i, got, err, want)
		}
	}
}

func TestSessionsSpreadOverReplicasAndEachStaysWithItsOwn(t *testing.T) {
	g, r := readingFrom(t, 2, backend.ReadReplica, nil)
	first := r.login("root")
	r.want(first, "OK", "SET", "k", "v")
	inStep(t, g)
	r.want(first, "v", "GET", "k")
	eventually(t, 20*time.Second, "both replicas can be read from", func() bool {
		c := r.login("root")
		defer c.Close()
		r.want(c, "v", "GET", "k")
		return calls(t, g.Servers[1], "get") > 0 && calls(t, g.Servers[2], "get") > 0
	})
	used := [3]int{}
	for range 40 {
		c := r.login("root")
		before := [3]int64{0, calls(t, g.Servers[1], "get"), calls(t, g.Servers[2], "get")}
		for range 5 {
			r.want(c, "v", "GET", "k")
		}
		for i := 1; i < 3; i++ {
			switch n := calls(t, g.Servers[i], "get") - before[i]; n {
			case 5:
				used[i]++
			case 0:
			default:
				t.Fatalf("%d of a session's 5 reads went to one replica", n)
			}
		}
		c.Close()
	}
	if used[1] == 0 || used[2] == 0 || calls(t, g.Servers[0], "get") != 0 {
		t.Errorf("sessions by replica: %v, and the primary had %d", used, calls(t, g.Servers[0], "get"))
	}
}

// A replica that has lost its primary answers what once was true.
func TestAReplicaThatLostItsPrimaryIsNotReadFrom(t *testing.T) {
	g, r := readingFrom(t, 1, backend.ReadPreferReplica, nil)
	primary, replica := g.Servers[0], g.Servers[1]
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "old")
	inStep(t, g)
	r.reaches(c, replica, "k")
	if _, err := replica.Do("REPLICAOF", "127.0.0.1", "1"); err != nil {
		t.Fatal(err)
	}
	r.reaches(c, primary, "k")
	r.want(c, "OK", "SET", "k", "new")
	before := calls(t, replica, "get")
	for range 20 {
		r.want(c, "new", "GET", "k")
	}
	if after := calls(t, replica, "get"); after != before {
		t.Errorf("%d reads went to a replica without a primary", after-before)
	}
	if err := g.Promote(t.Context(), primary); err != nil {
		t.Fatal(err)
	}
	r.reaches(c, replica, "k")
	r.want(c, "new", "GET", "k")
}

// It has a primary, but that one has other data.
func TestAReplicaOfAnotherPrimaryIsNotReadFrom(t *testing.T) {
	g, r := readingFrom(t, 1, backend.ReadPreferReplica, func(o *backend.Routing) { o.Refresh = time.Hour })
	stranger := redistest.Start(t)
	primary, replica := g.Servers[0], g.Servers[1]
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "ours")
	inStep(t, g)
	r.reaches(c, replica, "k")
	if _, err := stranger.Do("SET", "k", "theirs"); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.Do("REPLICAOF", "127.0.0.1", fmt.Sprint(stranger.Port())); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "it follows another primary", func() bool {
		v, err := replica.Do("GET", "k")
		return err == nil && v == "theirs"
	})
	r.reaches(c, primary, "k")
	for range 20 {
		r.want(c, "ours", "GET", "k")
	}
}

func TestWhereOnlyReplicasAreReadTheirAbsenceIsSaidAfterTheWait(t *testing.T) {
	const wait = 700 * time.Millisecond
	g, r := readingFrom(t, 1, backend.ReadReplica, func(o *backend.Routing) { o.Wait = wait })
	primary, replica := g.Servers[0], g.Servers[1]
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "v")
	inStep(t, g)
	eventually(t, 20*time.Second, "the replica can be read from", func() bool {
		_, err := c.Do("GET", "k")
		return err == nil
	})
	if err := replica.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "it is missed", func() bool {
		began := time.Now()
		_, err := c.Do("GET", "k")
		if err == nil {
			t.Fatal("somebody answered")
		}
		if strings.Contains(err.Error(), "may have run") {
			return false
		}
		if err.Error() != "ERR backend unavailable: no replica is fit to be read from" {
			t.Fatalf("%v", err)
		}
		if took := time.Since(began); took < wait-50*time.Millisecond {
			t.Errorf("it was not waited for: %v", took)
		}
		return true
	})
	r.want(c, "OK", "SET", "k", "w")
	if n := calls(t, primary, "get"); n != 0 {
		t.Errorf("the primary was asked %d times", n)
	}
	// A call that waits is answered as soon as somebody can.
	if err := replica.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := g.Promote(t.Context(), primary); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the replica is back", func() bool {
		v, err := c.Do("GET", "k")
		return err == nil && v == "w"
	})
}

func TestAReplicaThatDiesCostsReadsInFlightAndNoMore(t *testing.T) {
	g, r := readingFrom(t, 2, backend.ReadPreferReplica, nil)
	first := r.login("root")
	r.want(first, "OK", "SET", "k", "v")
	inStep(t, g)
	eventually(t, 20*time.Second, "both replicas are read from", func() bool {
		c := r.login("root")
		defer c.Close()
		r.want(c, "v", "GET", "k")
		return calls(t, g.Servers[1], "get") > 0 && calls(t, g.Servers[2], "get") > 0
	})
	const clients = 8
	done := make(chan struct{})
	var running sync.WaitGroup
	var mu sync.Mutex
	lost, others, reads := 0, map[string]int{}, 0
	for range clients {
		c := r.login("root")
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				v, err := c.Do("GET", "k")
				var refused redistest.Error
				mu.Lock()
				reads++
				switch {
				case err == nil && v == "v":
				case errors.As(err, &refused) && strings.Contains(err.Error(), "may have run"):
					lost++
				default:
					others[fmt.Sprint(v, err)]++
				}
				mu.Unlock()
				if err != nil && !errors.As(err, &refused) {
					return
				}
			}
		})
	}
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return reads
	}
	eventually(t, 20*time.Second, "reads are under way", func() bool { return count() > 500 })
	if err := g.Servers[1].Kill(); err != nil {
		t.Fatal(err)
	}
	then := count()
	eventually(t, 20*time.Second, "reads go on", func() bool { return count() > then+2000 })
	if err := g.Servers[1].Restart(); err != nil {
		t.Fatal(err)
	}
	if err := g.Promote(t.Context(), g.Servers[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "it is read from again", func() bool { return calls(t, g.Servers[1], "get") > 0 })
	close(done)
	running.Wait()
	if len(others) > 0 || lost > clients {
		t.Errorf("of %d reads %d were lost, and %v", reads, lost, others)
	}
}

// A replica that was promoted is the primary, and the former one a replica.
func TestAPromotedReplicaIsNoReplicaAnyMore(t *testing.T) {
	g, r := readingFrom(t, 1, backend.ReadReplica, nil)
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "1")
	inStep(t, g)
	r.reaches(c, g.Servers[1], "k")
	if err := g.Promote(t.Context(), g.Servers[1]); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "writes reach the new primary", func() bool {
		_, err := c.Do("SET", "k", "2")
		return err == nil
	})
	eventually(t, 20*time.Second, "reads reach the new replica", func() bool {
		before := calls(t, g.Servers[0], "get")
		_, err := c.Do("GET", "k")
		return err == nil && calls(t, g.Servers[0], "get") > before
	})
	before := calls(t, g.Servers[1], "get")
	for range 20 {
		if _, err := c.Do("GET", "k"); err != nil {
			t.Fatal(err)
		}
	}
	if after := calls(t, g.Servers[1], "get"); after != before {
		t.Errorf("%d reads went to what is the primary now", after-before)
	}
}

// replicaAnswering is a scripted replica of a data set; answers has the reply to
// each command that is not about replication.
func replicaAnswering(t *testing.T, zone string, answers map[string]string) *redistest.Fake {
	t.Helper()
	return redistest.NewFake(t, replicaScript(zone, answers))
}

func replicaScript(zone string, answers map[string]string) redistest.Script {
	info := "# Replication\r\nrole:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:0\r\nmaster_sync_in_progress:0\r\n"
	if zone != "" {
		info = "# Server\r\navailability_zone:" + zone + "\r\n" + info
	}
	return redistest.AfterHandshake(func(r redistest.Request) redistest.Answer {
		switch {
		case r.Is("ROLE"):
			return redistest.Reply("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:1\r\n$9\r\nconnected\r\n:1\r\n")
		case r.Is("INFO"):
			return redistest.Reply(fmt.Sprintf("$%d\r\n%s\r\n", len(info), info))
		}
		if a, ok := answers[strings.ToUpper(r.Args[0])]; ok {
			return redistest.Reply(a)
		}
		return redistest.Reply("-ERR unknown command\r\n")
	})
}

func asked(f *redistest.Fake, name string) int {
	n := 0
	for _, r := range f.Requests() {
		if r.Is(name) {
			n++
		}
	}
	return n
}

// beside is a proxy in front of a real primary and scripted replicas.
func beside(t *testing.T, routing backend.Routing, replicas ...*redistest.Fake) (*redistest.Server, *rig) {
	t.Helper()
	primary := redistest.Start(t)
	nodes := []string{primary.Addr()}
	for _, f := range replicas {
		nodes = append(nodes, f.Addr())
	}
	routing.Kind, routing.Refresh = backend.Replicated, time.Hour
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes, s.backend.Routing = endpoints(nodes), routing
	})
	return primary, r
}

// What a replica says of itself is no answer to a client.
func TestWhatAReplicaSaysOfItselfIsNotShown(t *testing.T) {
	for _, word := range []string{
		"-LOADING Redis is loading the dataset in memory", "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
		"-READONLY You can't write against a read only replica.", "-MOVED 12182 127.0.0.1:1", "-BUSY Redis is busy running a script.",
		"-CLUSTERDOWN The cluster is down", "-NOSCRIPT No matching script.",
	} {
		t.Run(strings.Fields(word)[0][1:], func(t *testing.T) {
			f := replicaAnswering(t, "", map[string]string{"GET": word + "\r\n"})
			_, r := beside(t, backend.Routing{Reads: backend.ReadPreferReplica, Wait: 10 * time.Second}, f)
			c := r.login("root")
			r.want(c, "OK", "SET", "k", "v")
			eventually(t, 20*time.Second, "the replica was asked", func() bool {
				r.want(c, "v", "GET", "k")
				return asked(f, "GET") > 0
			})
		})
	}
}

func TestAnErrorThatIsAnAnswerIsShown(t *testing.T) {
	f := replicaAnswering(t, "", map[string]string{"GET": "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"})
	_, r := beside(t, backend.Routing{Reads: backend.ReadPreferReplica, Wait: 10 * time.Second}, f)
	c := r.login("root")
	eventually(t, 20*time.Second, "the replica's error", func() bool {
		_, err := c.Do("GET", "k")
		return err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE")
	})
}

// While there is no primary, what a replica had last is as good as anybody has.
func TestWhereALagIsAllowedReadsGoOnWithoutAPrimary(t *testing.T) {
	g, r := readingFrom(t, 1, backend.ReadReplica, func(o *backend.Routing) { o.MaxLag = time.Minute })
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "v")
	inStep(t, g)
	r.reaches(c, g.Servers[1], "k")
	if err := g.Servers[0].Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the replica's link is down", func() bool {
		info, err := g.Servers[1].Info("replication")
		return err == nil && info["master_link_status"] == "down"
	})
	// Longer than it takes until the checks have seen that.
	until := time.Now().Add(3 * time.Second)
	eventually(t, 20*time.Second, "time passes", func() bool {
		r.want(c, "v", "GET", "k")
		return time.Now().After(until)
	})
}

// A replica that can't answer for a moment is waited for, where nobody else is to be read from.
func TestAReplicaThatIsLoadingIsWaitedFor(t *testing.T) {
	var mu sync.Mutex
	loading := true
	f := redistest.NewFake(t, func(r redistest.Request) redistest.Answer {
		if r.Is("GET") {
			mu.Lock()
			defer mu.Unlock()
			if loading {
				loading = false
				return redistest.Reply("-LOADING Redis is loading the dataset in memory\r\n")
			}
		}
		return replicaScript("", map[string]string{"GET": "$1\r\nr\r\n"})(r)
	})
	_, r := beside(t, backend.Routing{Reads: backend.ReadReplica, Wait: 20 * time.Second}, f)
	c := r.login("root")
	r.want(c, "r", "GET", "k")
	if n := asked(f, "GET"); n != 2 {
		t.Errorf("it was asked %d times", n)
	}
}

// A replica that comes into step later is found without waiting for the next usual look.
func TestAReplicaThatComesIntoStepIsReadFromSoon(t *testing.T) {
	g := redistest.StartReplicated(t, 1)
	primary, replica := g.Servers[0], g.Servers[1]
	if _, err := replica.Do("REPLICAOF", "127.0.0.1", "1"); err != nil {
		t.Fatal(err)
	}
	r := withRig(t, "", func(s *setup) {
		s.backend.Nodes = endpoints([]string{primary.Addr(), replica.Addr()})
		s.backend.Routing = backend.Routing{Kind: backend.Replicated, Reads: backend.ReadPreferReplica, Refresh: time.Hour, Wait: time.Second}
	})
	c := r.login("root")
	r.want(c, "OK", "SET", "k", "v")
	before := calls(t, replica, "get")
	r.want(c, "v", "GET", "k")
	if after := calls(t, replica, "get"); after != before {
		t.Error("a replica without a primary was read from")
	}
	if err := g.Promote(t.Context(), primary); err != nil {
		t.Fatal(err)
	}
	r.reaches(c, replica, "k")
}

// A read that is never the primary's waits for a replica also while nobody has said
// yet which nodes are replicas.
func TestAReadBeforeTheTopologyIsKnownIsNotThePrimarys(t *testing.T) {
	t.Parallel()
	known := make(chan struct{})
	primary := redistest.NewFake(t, redistest.AfterHandshake(func(r redistest.Request) redistest.Answer {
		switch {
		case r.Is("ROLE"):
			return redistest.When(known, "*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n")
		case r.Is("GET"):
			return redistest.Reply("$7\r\nprimary\r\n")
		}
		return redistest.Reply("-ERR unknown command\r\n")
	}))
	replica := replicaAnswering(t, "", map[string]string{"GET": "$7\r\nreplica\r\n"})
	r := withRig(t, "", func(s *setup) {
		s.down = true
		s.backend.Nodes = endpoints([]string{primary.Addr(), replica.Addr()})
		s.backend.Routing = backend.Routing{Kind: backend.Replicated, Reads: backend.ReadReplica, Wait: time.Hour, Refresh: 100 * time.Millisecond}
	})
	c, other := r.login("root"), r.login("root")
	if err := c.Send("GET", "k"); err != nil {
		t.Fatal(err)
	}
	r.want(other, "PONG", "PING") // the read is there, too
	close(known)
	if got, err := c.Receive(); err != nil || got != "replica" {
		t.Errorf("%v, %v", got, err)
	}
	if n := asked(primary, "GET"); n != 0 {
		t.Errorf("the primary was asked %d times", n)
	}
}
