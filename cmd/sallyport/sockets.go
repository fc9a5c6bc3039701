package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
)

// sockets are those the supervisor had open before it started the process
// (systemd's socket units). Each belongs to the listener of its address: what
// the configuration was checked for is what is listened on.
type sockets struct{ left []net.Listener }

// passedSockets takes over what was passed.
func passedSockets() (*sockets, error) {
	s := &sockets{}
	for _, f := range activation.Files(true) {
		ln, err := net.FileListener(f) // with a descriptor of its own
		f.Close()
		if err != nil {
			s.close()
			return nil, fmt.Errorf("the supervisor passed %q, which can't be listened on: %w", f.Name(), err)
		}
		s.left = append(s.left, ln)
	}
	return s, nil
}

// take gives the socket of an address, nil if none was passed.
func (s *sockets) take(network, address string) net.Listener {
	for i, ln := range s.left {
		if sameAddress(ln.Addr(), network, address) {
			s.left = append(s.left[:i:i], s.left[i+1:]...)
			return ln
		}
	}
	return nil
}

// unclaimed is an error if a socket was passed that nobody took: its clients
// would connect and never be answered.
func (s *sockets) unclaimed() error {
	if len(s.left) == 0 {
		return nil
	}
	var where []string
	for _, ln := range s.left {
		where = append(where, ln.Addr().String())
	}
	return fmt.Errorf("the supervisor passed a socket on %s, which is no listener's address: write the same address in both", strings.Join(where, ", "))
}

func (s *sockets) close() {
	for _, ln := range s.left {
		ln.Close()
	}
	s.left = nil
}

// sameAddress compares a socket's address with one of the configuration.
func sameAddress(at net.Addr, network, address string) bool {
	switch at := at.(type) {
	case *net.UnixAddr:
		if network != "unix" {
			return false
		}
		if at.Name == address {
			return true
		}
		// /var/run and /run are one folder.
		a, errA := os.Stat(filepath.Clean(at.Name))
		b, errB := os.Stat(address)
		return errA == nil && errB == nil && os.SameFile(a, b)
	case *net.TCPAddr:
		if network != "tcp" {
			return false
		}
		want, err := net.ResolveTCPAddr("tcp", address)
		if err != nil || want.Port != at.Port {
			return false
		}
		if want.IP == nil || want.IP.IsUnspecified() {
			return at.IP == nil || at.IP.IsUnspecified()
		}
		return want.IP.Equal(at.IP)
	}
	return false
}
