package main

import (
	"context"
	"time"
)

// abuseIdle: what clients that log in and then do nothing cost.
func abuseIdle(ctx context.Context, s *stage) error {
	if err := s.start(ctx, nil); err != nil {
		return err
	}
	conf, err := s.rig.pki.tlsClient()
	if err != nil {
		return err
	}
	empty, err := readMemory(s.proxy.pid)
	if err != nil {
		return err
	}
	var all crowd
	defer all.close()
	began := time.Now()
	for n := s.size.idle; n > 0; n -= 1000 {
		if err := s.proxy.gather(ctx, &all, min(n, 1000), conf); err != nil {
			return err
		}
		s.say("%d clients", len(all.conns))
	}
	s.judgeQuiet("seconds until all are logged in", time.Since(began).Seconds(), "s", 60, 0)
	cpu, err := s.idleCPU(ctx)
	if err != nil {
		return err
	}
	s.judgeQuiet("CPU of a core while they idle", 100*cpu, "%", 1, 0)
	full, err := readMemory(s.proxy.pid)
	if err != nil {
		return err
	}
	if s.size.idle >= 10_000 {
		s.judge("RSS with all of them", float64(full.rss)/mib, "MiB", 200, 130)
	}
	s.say("RSS %.1f MiB before, %.1f MiB with them", float64(empty.rss)/mib, float64(full.rss)/mib)
	// Few clients don't outweigh what the process grows by on its first ones.
	s.judge("RSS grown for each", float64(full.rss-empty.rss)/1024/float64(s.size.idle), "KiB", 20+12*1024/float64(s.size.idle), 13)
	for _, nc := range all.conns[:min(100, len(all.conns))] {
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := nc.Write([]byte("PING\r\n")); err != nil {
			return err
		}
		var reply [7]byte
		if _, err := nc.Read(reply[:]); err != nil || string(reply[:]) != "+PONG\r\n" {
			s.require("a client that was idle is served", false)
			return nil
		}
	}
	s.require("a client that was idle is served", true)
	return nil
}

// idleCPU is the share of a core that the proxy uses while nothing is asked of it.
func (s *stage) idleCPU(ctx context.Context) (float64, error) {
	if err := pause(ctx, s.size.settle+s.size.settle/5); err != nil { // for what the last handshakes left to do
		return 0, err
	}
	before, err := readCPU(s.proxy.pid)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := pause(ctx, s.size.settle); err != nil {
		return 0, err
	}
	after, err := readCPU(s.proxy.pid)
	if err != nil {
		return 0, err
	}
	return float64(after.minus(before).total) / float64(time.Since(began)), nil
}
