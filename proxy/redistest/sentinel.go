package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"
)

// Sentinels is a replicated group watched by Sentinels, which promote a replica when the primary is gone.
type Sentinels struct {
	*Replicated
	Name      string // by which the Sentinels know the group
	Sentinels []*Server
}

// SentinelOptions says how a group and its Sentinels run; the zero value is one replica and three Sentinels.
type SentinelOptions struct {
	Name      string   // "primary" if empty
	Replicas  int      // 1 if 0
	Sentinels int      // 3 if 0; the quorum is more than half of them
	Server    []Option // of each redis-server
	Sentinel  []Option // of each Sentinel: RequirePass, TLS, Args
	Watch     []string // directives for each Sentinel's file, such as "sentinel announce-hostnames yes"
	// Host is the name by which Sentinels know the first primary; "127.0.0.1" if empty. A name needs
	// "sentinel resolve-hostnames yes" in Watch.
	Host string
}

// StartSentinels runs a group under Sentinels for a test. All know each other when it returns.
func StartSentinels(t testing.TB, o SentinelOptions) *Sentinels {
	t.Helper()
	g, err := OpenSentinels(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("Sentinels and their servers did not end cleanly: %v", err)
		}
	})
	return g
}

// OpenSentinels is StartSentinels for programs: ctx bounds the start only, and the caller must Close.
func OpenSentinels(ctx context.Context, o SentinelOptions) (*Sentinels, error) {
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	if o.Name == "" {
		o.Name = "primary"
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.Sentinels == 0 {
		o.Sentinels = 3
	}
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	pair, err := OpenReplicated(ctx, o.Replicas, o.Server...)
	if err != nil {
		return nil, err
	}
	g := &Sentinels{Replicated: pair, Name: o.Name}
	watch := g.directives(o)
	g.Sentinels, err = openAll(ctx, o.Sentinels, func(int) []Option {
		return append([]Option{func(s *settings) { s.watch = watch }}, o.Sentinel...)
	})
	if err == nil {
		err = g.AwaitQuorum(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// directives is what a Sentinel's file says of the group: quick to find a primary gone, quick to act.
func (g *Sentinels) directives(o SentinelOptions) []string {
	// Options that concern names must stand before the name they concern.
	lines := append([]string(nil), o.Watch...)
	lines = append(lines,
		fmt.Sprintf("sentinel monitor %s %s %d %d", o.Name, o.Host, g.Servers[0].Port(), o.Sentinels/2+1),
		"sentinel down-after-milliseconds "+o.Name+" 600",
		"sentinel failover-timeout "+o.Name+" 3000",
	)
	set := g.Servers[0].settings
	if set.password != "" {
		lines = append(lines, "sentinel auth-pass "+o.Name+" "+set.password)
	}
	if set.tls != nil {
		lines = append(lines, "tls-replication yes")
	}
	return lines
}

// AwaitQuorum returns when every running Sentinel knows all others and all replicas.
func (g *Sentinels) AwaitQuorum(ctx context.Context) error {
	for _, s := range g.Sentinels {
		if s.Pid() == 0 {
			continue
		}
		err := Await(ctx, "a Sentinel knows its group", func() error {
			reply, err := s.Do("SENTINEL", "MASTER", g.Name)
			if err != nil {
				return err
			}
			fields := pairs(reply)
			if fields["num-other-sentinels"] != strconv.Itoa(len(g.Sentinels)-1) || fields["num-slaves"] != strconv.Itoa(len(g.Servers)-1) {
				return fmt.Errorf("%s Sentinels and %s replicas known", fields["num-other-sentinels"], fields["num-slaves"])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Addrs are the addresses of the Sentinels.
func (g *Sentinels) Addrs() []string {
	var out []string
	for _, s := range g.Sentinels {
		out = append(out, s.Addr())
	}
	return out
}

// Primary is the server that a Sentinel names as the primary.
func (g *Sentinels) Primary() (*Server, error) {
	for _, s := range g.Sentinels {
		if s.Pid() == 0 {
			continue
		}
		reply, err := s.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", g.Name)
		if err != nil {
			return nil, err
		}
		if items, ok := reply.([]any); ok && len(items) == 2 {
			for _, server := range g.Servers {
				if _, port, err := net.SplitHostPort(server.Addr()); err == nil && port == items[1] {
					return server, nil
				}
			}
		}
		return nil, fmt.Errorf("a Sentinel answered %v", reply)
	}
	return nil, errors.New("no Sentinel runs")
}

// AwaitPrimary returns the primary once a Sentinel names another than before, and it says so itself.
func (g *Sentinels) AwaitPrimary(ctx context.Context, before *Server) (now *Server, err error) {
	err = Await(ctx, "another primary is there", func() error {
		now, err = g.Promoted(before)
		return err
	})
	return now, err
}

// Promoted is the primary if a Sentinel names another than before, and it says so itself.
func (g *Sentinels) Promoted(before *Server) (*Server, error) {
	now, err := g.Primary()
	if err != nil {
		return nil, err
	}
	if now == before {
		return nil, errors.New("the same as before")
	}
	role, err := now.Role()
	if err == nil && role != "master" {
		err = fmt.Errorf("it is a %s", role)
	}
	return now, err
}

// Failover has the Sentinels promote a replica while all live, and returns the new primary. They refuse while they do
// not find a replica fit, and give an attempt up without a word; so they are asked again until ctx ends.
func (g *Sentinels) Failover(ctx context.Context) (now *Server, err error) {
	before, err := g.Primary()
	if err != nil {
		return nil, err
	}
	var due time.Time
	err = Await(ctx, "another primary is there", func() error {
		if now, err = g.Promoted(before); err == nil || time.Now().Before(due) {
			return err
		}
		var refused Error
		_, asked := g.Sentinels[0].Do("SENTINEL", "FAILOVER", g.Name)
		if asked != nil && !errors.As(asked, &refused) {
			return asked
		}
		if asked == nil {
			due = time.Now().Add(promotionAgain)
		}
		return errors.Join(err, asked)
	})
	return now, err
}

// promotionAgain is after how long SENTINEL FAILOVER is asked for again: twice the failover-timeout.
const promotionAgain = 6 * time.Second

// Close stops the Sentinels, then the servers.
func (g *Sentinels) Close() error { return errors.Join(closeAll(g.Sentinels), g.Replicated.Close()) }

// pairs reads a flat array of names and values.
func pairs(reply any) map[string]string {
	items, _ := reply.([]any)
	out := make(map[string]string, len(items)/2)
	for i := 0; i+1 < len(items); i += 2 {
		name, _ := items[i].(string)
		out[name] = fmt.Sprint(items[i+1])
	}
	return out
}
