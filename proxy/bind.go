package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listen binds a listener's address, or takes the socket that somebody has bound.
func listen(o ListenerOptions) (net.Listener, error) {
	if o.Bound != nil {
		return o.Bound, nil
	}
	if o.Network != "unix" {
		var lc net.ListenConfig
		if o.ReusePort {
			lc.Control = reusePort
		}
		return lc.Listen(context.Background(), o.Network, o.Address)
	}
	if err := removeStale(o.Address); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", o.Address)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(o.Address, o.mode()); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// reusePort lets a process that replaces this one listen on the port while this
// one drains. The kernel shares new connections out among those that listen, and
// asks that they belong to the same user.
func reusePort(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	return errors.Join(err, failed)
}

// removeStale removes a socket that nobody listens on any more, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return fmt.Errorf("%s is in use by another process", path)
	}
	return os.Remove(path)
}
