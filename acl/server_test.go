package acl

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// realServer is a redis-server of the test's own, asked over a unix socket.
type realServer struct {
	conn net.Conn
	r    *bufio.Reader
}

// startServer starts a redis-server that ends with the test.
func startServer(t *testing.T) *realServer {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("this test asks a real server: install redis-server 7.0.15 (Debian: apt-get install redis-server)")
	}
	dir, err := os.MkdirTemp("", "acl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(binary, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	ready := make(chan string, 1)
	go func() {
		var log strings.Builder
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(&log, lines.Text())
			if strings.Contains(lines.Text(), "eady to accept connections") || strings.Contains(lines.Text(), "now ready to accept") {
				ready <- ""
			}
		}
		ready <- log.String()
	}()
	select {
	case log := <-ready:
		if log != "" {
			t.Fatalf("redis-server ended:\n%s", log)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("redis-server is not ready after 20 s")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &realServer{conn, bufio.NewReaderSize(conn, 1<<16)}
}

// ask sends the requests in one go and gives their answers in order: a status,
// bulk string or integer as text, the elements of an array a line each, those of
// one inside it in brackets, an error with its leading minus.
func (s *realServer) ask(t *testing.T, requests [][]string) []string {
	t.Helper()
	if err := s.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(s.conn, 1<<16)
		for _, request := range requests {
			fmt.Fprintf(w, "*%d\r\n", len(request))
			for _, arg := range request {
				fmt.Fprintf(w, "$%d\r\n%s\r\n", len(arg), arg)
			}
		}
		written <- w.Flush()
	}()
	answers := make([]string, len(requests))
	for i := range requests {
		answer, err := s.answer()
		if err != nil {
			t.Fatalf("answer to %q: %v", requests[i], err)
		}
		answers[i] = answer
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	return answers
}

func (s *realServer) answer() (string, error) {
	line, err := s.r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	switch {
	case line == "":
		return "", io.ErrUnexpectedEOF
	case line[0] == '-':
		return line, nil
	case line[0] == '*' || line[0] == '%':
		return s.elements(line)
	case line[0] != '$':
		return line[1:], nil
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < 0 {
		return "", err
	}
	bulk := make([]byte, n+2)
	_, err = io.ReadFull(s.r, bulk)
	return string(bulk[:n]), err
}

func (s *realServer) elements(head string) (string, error) {
	n, err := strconv.Atoi(head[1:])
	if err != nil || n < 0 {
		return "", err
	}
	list := make([]string, n)
	for i := range list {
		if list[i], err = s.answer(); err != nil {
			return "", err
		}
		if strings.Contains(list[i], "\n") {
			list[i] = "[" + strings.ReplaceAll(list[i], "\n", "|") + "]"
		}
	}
	return strings.Join(list, "\n"), nil
}
