package loop

import (
	"os"
	"syscall"
	"unsafe"
)

// The calls below never block, since every descriptor here is non-blocking, so
// they are made without telling the scheduler.

// readFD reads into p, which is not empty; 0 is the end of input.
func readFD(fd int, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, syscall.EAGAIN
		default:
			return 0, os.NewSyscallError("read", errno)
		}
	}
}

// writeFD writes p, which is not empty.
func writeFD(fd int, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, syscall.EAGAIN
		default:
			return 0, os.NewSyscallError("write", errno)
		}
	}
}

func dupFD(fd int) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return -1, os.NewSyscallError("fcntl", errno)
	}
	return int(n), nil
}

func closeFD(fd int) { _ = syscall.Close(fd) }

func shutdownWrite(fd int) { _ = syscall.Shutdown(fd, syscall.SHUT_WR) }

func quickAck(fd int) {
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) // fails on unix sockets, which need none
}

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
