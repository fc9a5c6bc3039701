package redistest

import (
	"context"
	"errors"
	"strconv"
	"testing"
)

// Replicated is a primary with replicas, all of the rig's own. Who is what changes with Promote.
type Replicated struct {
	Servers []*Server // the first one began as the primary
}

// StartReplicated runs a primary and its replicas for a test. They are in step when it returns and gone when the test
// has ended. opts apply to each of them.
func StartReplicated(t testing.TB, replicas int, opts ...Option) *Replicated {
	t.Helper()
	r, err := OpenReplicated(t.Context(), replicas, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("replicated servers did not end cleanly: %v", err)
		}
	})
	return r
}

// OpenReplicated is StartReplicated for programs: ctx bounds the start only, and the caller must Close.
func OpenReplicated(ctx context.Context, replicas int, opts ...Option) (*Replicated, error) {
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	servers, err := openAll(ctx, 1+replicas, func(int) []Option { return linked(opts, "--repl-ping-replica-period", "1") })
	if err != nil {
		return nil, err
	}
	r := &Replicated{Servers: servers}
	if err := r.Promote(ctx, servers[0]); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Promote makes one server the primary and all others that run its replicas, as an operator would by REPLICAOF. It
// returns when they are in step. Nobody else is told.
func (r *Replicated) Promote(ctx context.Context, primary *Server) error {
	if _, err := primary.Do("REPLICAOF", "NO", "ONE"); err != nil {
		return err
	}
	var others []*Server
	for _, s := range r.Servers {
		if s == primary || s.Pid() == 0 {
			continue
		}
		if _, err := s.Do("REPLICAOF", "127.0.0.1", strconv.Itoa(primary.Port())); err != nil {
			return err
		}
		others = append(others, s)
	}
	for _, s := range others {
		if err := s.awaitField(ctx, "replication", "master_link_status", "up"); err != nil {
			return err
		}
	}
	return nil
}

// Close stops all servers.
func (r *Replicated) Close() error { return closeAll(r.Servers) }
