package redistest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func inAMinute(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestAClusterFailsOverAndMovesASlotWithItsKeys(t *testing.T) {
	ctx := inAMinute(t)
	c := StartCluster(t, 3, 1, RequirePass("secret"))
	owner, err := c.Owner(12182) // of foo
	if err != nil {
		t.Fatal(err)
	}
	mustDo(t, owner, "SET", "foo", "1")
	if owner != c.Servers[2] {
		t.Fatal("slot 12182 of 16384 is not with the last of three")
	}
	if err := c.MoveSlot(12182, c.Servers[2], c.Servers[0]); err != nil {
		t.Fatal(err)
	}
	if got := mustDo(t, c.Servers[0], "GET", "foo"); got != "1" {
		t.Fatalf("the key did not move with its slot: %v", got)
	}
	replica, err := c.Replica(c.Servers[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Failover(ctx, replica); err != nil {
		t.Fatal(err)
	}
	if err := Await(ctx, "the slot has its new owner", func() error {
		if owner, err = c.Owner(12182); err == nil && owner != replica {
			err = context.DeadlineExceeded
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestAFailoverThatTheClusterGaveUpIsAskedForAgain(t *testing.T) {
	ctx := inAMinute(t)
	c := StartCluster(t, 3, 1)
	voters, replica := c.Servers[1:3], c.Servers[3]
	for _, s := range voters {
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
	}
	outcome := make(chan error, 1)
	go func() { outcome <- c.Failover(ctx, replica) }()
	abandoned := Await(ctx, "the first attempt is given up", func() error {
		if !strings.Contains(replica.Log(), "Manual failover timed out") {
			return errors.New("not yet")
		}
		return nil
	})
	for _, s := range voters {
		if err := s.Continue(); err != nil {
			t.Error(err)
		}
	}
	if err := errors.Join(abandoned, <-outcome); err != nil {
		t.Fatal(err)
	}
}

func TestSentinelsPromoteAReplicaOfAKilledPrimary(t *testing.T) {
	ctx := inAMinute(t)
	g := StartSentinels(t, SentinelOptions{Server: []Option{RequirePass("secret")}, Sentinel: []Option{RequirePass("watch")}})
	before, err := g.Primary()
	if err != nil || before != g.Servers[0] {
		t.Fatalf("primary %v, %v", before, err)
	}
	mustDo(t, before, "SET", "k", "v")
	mustDo(t, before, "WAIT", "1", "5000")
	if err := before.Kill(); err != nil {
		t.Fatal(err)
	}
	now, err := g.AwaitPrimary(ctx, before)
	if err != nil {
		t.Fatal(err)
	}
	if got := mustDo(t, now, "GET", "k"); got != "v" {
		t.Fatalf("GET: %v", got)
	}
}

func TestAReplicatedPairChangesItsPrimary(t *testing.T) {
	ctx := inAMinute(t)
	r := StartReplicated(t, 1)
	mustDo(t, r.Servers[0], "SET", "k", "v")
	if err := r.Promote(ctx, r.Servers[1]); err != nil {
		t.Fatal(err)
	}
	if role, err := r.Servers[0].Role(); err != nil || role != "slave" {
		t.Fatalf("role %q, %v", role, err)
	}
	mustDo(t, r.Servers[1], "SET", "k", "w")
}
