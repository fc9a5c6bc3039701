package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"
)

// adminSocketMode keeps the admin endpoints to their owner and group: whoever
// can connect can see sessions and drain the proxy.
const adminSocketMode fs.FileMode = 0o660

// listenAdmin binds the admin address. Of what lies in a socket's way, only a
// socket that nobody listens on is removed.
func listenAdmin(network, address string) (net.Listener, error) {
	if network != "unix" {
		return net.Listen(network, address)
	}
	info, err := os.Lstat(address)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s exists and is not a socket", address)
	default:
		if c, err := net.DialTimeout("unix", address, time.Second); err == nil {
			c.Close()
			return nil, fmt.Errorf("%s is in use by another process", address)
		}
		if err := os.Remove(address); err != nil {
			return nil, err
		}
	}
	ln, err := net.Listen("unix", address)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(address, adminSocketMode); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}
