package redistest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// groupTimeout bounds how long several servers may take to find each other.
const groupTimeout = 40 * time.Second

// openAll starts several servers at once: none of them is left running if one fails.
func openAll(ctx context.Context, n int, opts func(i int) []Option) ([]*Server, error) {
	servers, errs := make([]*Server, n), make([]error, n)
	var starting sync.WaitGroup
	for i := range n {
		starting.Go(func() { servers[i], errs[i] = Open(ctx, opts(i)...) })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, closeAll(servers))
	}
	return servers, nil
}

func closeAll(servers []*Server) error {
	errs := make([]error, len(servers))
	var ending sync.WaitGroup
	for i, s := range servers {
		if s != nil {
			ending.Go(func() { errs[i] = s.Close() })
		}
	}
	ending.Wait()
	return errors.Join(errs...)
}

// Await asks again and again until ok says yes, or says what was last missing when ctx ends.
func Await(ctx context.Context, what string, ok func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w, last: %w", what, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Role is the first word of ROLE: "master", "slave" or "sentinel".
func (s *Server) Role() (string, error) {
	reply, err := s.Do("ROLE")
	if err != nil {
		return "", err
	}
	if items, ok := reply.([]any); ok && len(items) > 0 {
		if word, ok := items[0].(string); ok {
			return word, nil
		}
	}
	return "", fmt.Errorf("ROLE answered %v", reply)
}

// awaitField returns when a field of INFO has a value.
func (s *Server) awaitField(ctx context.Context, section, field, want string) error {
	return Await(ctx, s.Addr()+" has "+field+":"+want, func() error {
		info, err := s.Info(section)
		if err != nil {
			return err
		}
		if info[field] != want {
			return fmt.Errorf("%s is %q", field, info[field])
		}
		return nil
	})
}

// linked gives options that let servers of one group reach each other with the password and TLS they ask of clients.
func linked(opts []Option, args ...string) []Option {
	var s settings
	for _, o := range opts {
		o(&s)
	}
	if s.password != "" {
		args = append(args, "--masterauth", s.password)
	}
	if s.tls != nil {
		args = append(args, "--tls-replication", "yes", "--tls-cluster", "yes")
	}
	// The caller's own arguments come last, so that they win.
	return append([]Option{Args(args...)}, opts...)
}
