//go:build (darwin || freebsd) && (amd64 || arm64)

package loop

import (
	"os"
	"syscall"
)

// readFD reads into p, which is not empty; 0 is the end of input.
func readFD(fd int, p []byte) (int, error) {
	return retry("read", func() (int, error) { return syscall.Read(fd, p) })
}

// writeFD writes p, which is not empty.
func writeFD(fd int, p []byte) (int, error) {
	return retry("write", func() (int, error) { return syscall.Write(fd, p) })
}

func retry(name string, call func() (int, error)) (int, error) {
	for {
		n, err := call()
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, syscall.EAGAIN
		default:
			return 0, os.NewSyscallError(name, err)
		}
	}
}

func dupFD(fd int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	n, err := syscall.Dup(fd)
	if err != nil {
		return -1, os.NewSyscallError("dup", err)
	}
	syscall.CloseOnExec(n)
	return n, nil
}

func closeFD(fd int) { _ = syscall.Close(fd) }

func shutdownWrite(fd int) { _ = syscall.Shutdown(fd, syscall.SHUT_WR) }

// quickAck has no counterpart here.
func quickAck(int) {}

// socketError is the socket's pending error, nil if it has none.
func socketError(fd int) error {
	n, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if n != 0 {
		return os.NewSyscallError("read", syscall.Errno(n))
	}
	return nil
}
