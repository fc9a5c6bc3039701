package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// fewDescriptors has the program that follows start with 256 of them.
var fewDescriptors = []string{"/bin/sh", "-c", `ulimit -n 256 && exec "$@"`, "sh"}

// abuseDescriptors: more connections come than the process has descriptors for. They say nothing; when they go away all
// has to be as it was.
func abuseDescriptors(ctx context.Context, s *stage) error {
	if err := s.start(ctx, []string{"auth_timeout: 10m", "handshake_timeout: 10m"}, fewDescriptors...); err != nil {
		return err
	}
	conf, err := s.rig.pki.tlsClient()
	if err != nil {
		return err
	}
	known, client, err := s.proxy.loggedIn(ctx, "mtls", conf)
	if err != nil {
		return err
	}
	defer known.Close()
	var all crowd
	defer all.close()
	if err := each(ctx, s.size.connectors, 16, func(ctx context.Context, i int) error {
		// Those the process can't take wait in the kernel, for which they are connected.
		nc, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", s.proxy.address["plain"])
		if err == nil {
			all.add(nc)
		}
		return ctx.Err()
	}); err != nil {
		return err
	}
	s.say("%d connections are open, %d were tried", len(all.conns), s.size.connectors)
	cpu, err := s.idleCPU(ctx)
	if err != nil {
		return err
	}
	s.judgeQuiet("CPU of a core while they are there", 100*cpu, "%", 5, 0)
	_, err = client.Do("PING")
	s.require("who was there before is served", err == nil)
	_, err = s.ask(ctx, "/livez")
	s.require("the admin endpoint answers", err == nil)
	all.close()
	began := time.Now()
	fresh, _, err := s.proxy.loggedIn(ctx, "mtls", conf)
	if err != nil {
		return fmt.Errorf("after they left: %w", err)
	}
	fresh.Close()
	s.judgeQuiet("seconds until a new client is logged in, after they left", time.Since(began).Seconds(), "s", 1, 0)
	return nil
}

// ask gets a page of the admin endpoint.
func (s *stage) ask(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.proxy.address["admin"]+path, nil)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4*mib))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, response.Status)
	}
	return string(text), err
}
