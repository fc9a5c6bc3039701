package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/proxy/redistest"
)

// pipelineWindow is far less than all replies: the proxy has to hold the client back, as the kernel does not take them.
const pipelineWindow = 256 << 10

// abusePipeline: a client sends all its commands before it reads the first reply. A counter's value in each reply says
// whether order was kept and nothing ran twice.
func abusePipeline(ctx context.Context, s *stage) error {
	return s.watched(ctx, func(nc net.Conn) error {
		if err := rawConn(nc).SetReadBuffer(pipelineWindow); err != nil {
			return err
		}
		sent := make(chan error, 1)
		go func() {
			w := bufio.NewWriterSize(nc, 64<<10)
			command := redistest.Encode("INCR", "counter")
			for range s.size.pipeline {
				if _, err := w.Write(command); err != nil {
					sent <- err
					return
				}
			}
			sent <- w.Flush()
		}()
		// The proxy must hold the client back, not its commands: give it the time to do it wrong.
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		in := bufio.NewReaderSize(nc, 64<<10)
		wrong := 0
		for i := range s.size.pipeline {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return fmt.Errorf("reply %d: %w", i, err)
			}
			if string(bytes.TrimSpace(line)) != ":"+strconv.Itoa(i+1) {
				wrong++
			}
		}
		s.judge("replies that are not the expected one", float64(wrong), "replies", 0, 0)
		return <-sent
	})
}

// abuseValue: one value as large as Redis takes goes in and comes back.
func abuseValue(ctx context.Context, s *stage) error {
	return s.watched(ctx, func(nc net.Conn) error {
		in := bufio.NewReaderSize(nc, 64<<10)
		began := time.Now()
		put := sha256.New()
		if err := s.putBig(nc, put); err != nil {
			return fmt.Errorf("SET: %w", err)
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("SET: %w", err)
		}
		s.require("the value is taken", line == "+OK\r\n")
		if line != "+OK\r\n" {
			return nil
		}
		if err := s.grown("RSS grown by the value going in", 16); err != nil {
			return err
		}
		s.say("in after %v", time.Since(began).Round(time.Millisecond))
		if _, err := nc.Write(redistest.Encode("GET", "big")); err != nil {
			return err
		}
		head := fmt.Sprintf("$%d\r\n", s.size.big)
		if line, err = in.ReadString('\n'); err != nil || line != head {
			return fmt.Errorf("GET: %.40q, %w", line, err)
		}
		got := sha256.New()
		if _, err := io.CopyN(got, in, s.size.big); err != nil {
			return fmt.Errorf("GET: %w", err)
		}
		if line, err = in.ReadString('\n'); err != nil || line != "\r\n" {
			return fmt.Errorf("GET: the value's end is %.10q, %w", line, err)
		}
		s.require("it comes back as it went in", bytes.Equal(got.Sum(nil), put.Sum(nil)))
		s.say("out after %v", time.Since(began).Round(time.Millisecond))
		return nil
	})
}

// putBig sends SET with a value that is made while it is sent.
func (s *stage) putBig(w io.Writer, sum hash.Hash) error {
	if _, err := fmt.Fprintf(w, "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n", s.size.big); err != nil {
		return err
	}
	piece := make([]byte, 64<<10)
	for left := s.size.big; left > 0; {
		for i := 0; i < len(piece); i += 8 {
			n := s.rng.Uint64()
			for j := range 8 {
				piece[i+j] = byte(n >> (8 * j))
			}
		}
		p := piece[:min(left, int64(len(piece)))]
		sum.Write(p)
		if _, err := w.Write(p); err != nil {
			return err
		}
		left -= int64(len(p))
	}
	_, err := io.WriteString(w, "\r\n")
	return err
}

// watched has do use one connection over mutual TLS and judges what the proxy's memory grew by meanwhile.
func (s *stage) watched(ctx context.Context, do func(net.Conn) error) error {
	if err := s.start(ctx, nil); err != nil {
		return err
	}
	conf, err := s.rig.pki.tlsClient()
	if err != nil {
		return err
	}
	// A first client has the process make what it makes once.
	first, _, err := s.proxy.loggedIn(ctx, "mtls", conf)
	if err != nil {
		return err
	}
	first.Close()
	nc, _, err := s.proxy.loggedIn(ctx, "mtls", conf)
	if err != nil {
		return err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	if err := nc.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	before, err := readMemory(s.proxy.pid)
	if err != nil {
		return err
	}
	s.before = before.rss
	if err := resetPeak(s.proxy.pid); err != nil {
		return err
	}
	began := time.Now()
	if err := do(nc); err != nil {
		return err
	}
	s.say("done after %v", time.Since(began).Round(time.Millisecond))
	return s.grown("RSS grown in all", 16)
}

// grown judges, in MiB, what the proxy's memory has grown by at most since watched looked first.
func (s *stage) grown(figure string, must float64) error {
	now, err := readMemory(s.proxy.pid)
	if err != nil {
		return err
	}
	s.judge(figure, float64(now.peak-s.before)/mib, "MiB", must, 0)
	return nil
}
