package loop

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// poller is epoll, level-triggered. An event carries a slot and its generation.
type poller struct {
	epfd, wakefd int
	events       [batch]syscall.EpollEvent
}

func (p *poller) open() error {
	epfd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	fd, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		closeFD(epfd)
		return os.NewSyscallError("eventfd2", errno)
	}
	p.epfd, p.wakefd = epfd, int(fd)
	if err := p.add(p.wakefd, wakeSlot, 0, mIn); err != nil {
		p.close()
		return err
	}
	return nil
}

func (p *poller) close() {
	closeFD(p.wakefd)
	closeFD(p.epfd)
}

// poll never blocks and doesn't tell the scheduler.
func (p *poller) poll() int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.epfd),
		uintptr(unsafe.Pointer(&p.events)), batch, 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// hold waits for at most a millisecond and, as poll, doesn't tell the scheduler. A signal ends it, which is how
// the scheduler asks a goroutine to stop.
func (p *poller) hold(d time.Duration) int {
	if d >= 0 && d < time.Millisecond {
		return 0
	}
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.epfd),
		uintptr(unsafe.Pointer(&p.events)), batch, 1, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// block waits for at most d; negative: for ever.
func (p *poller) block(d time.Duration) int {
	ms := -1
	if d >= 0 {
		ms = int(min(int64(d+time.Millisecond-1)/int64(time.Millisecond), 1<<30))
	}
	n, _, errno := syscall.Syscall6(syscall.SYS_EPOLL_PWAIT, uintptr(p.epfd),
		uintptr(unsafe.Pointer(&p.events)), batch, uintptr(ms), 0, 0)
	if errno != 0 { // EINTR: a turn with nothing to do
		return 0
	}
	return int(n)
}

// event decodes the i-th of the last poll.
func (p *poller) event(i int) (slot, gen uint32, ready mask) {
	e := &p.events[i]
	if uint32(e.Fd) == wakeSlot {
		var b [8]byte
		_, _ = readFD(p.wakefd, b[:])
		return wakeSlot, 0, 0
	}
	if e.Events&syscall.EPOLLIN != 0 {
		ready |= mIn
	}
	if e.Events&syscall.EPOLLOUT != 0 {
		ready |= mOut
	}
	if e.Events&(syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		ready |= mHup
	}
	return uint32(e.Fd), uint32(e.Pad), ready
}

// wake ends a block. Safe from any goroutine while the poller is open.
func (p *poller) wake() {
	one := [8]byte{1}
	if hostBigEndian {
		one = [8]byte{7: 1}
	}
	_, _ = writeFD(p.wakefd, one[:])
}

var hostBigEndian = func() bool { x := uint16(1); return *(*byte)(unsafe.Pointer(&x)) == 0 }()

func (p *poller) ctl(op, fd int, slot, gen uint32, want mask) error {
	e := syscall.EpollEvent{Fd: int32(slot), Pad: int32(gen)}
	if want&mIn != 0 {
		e.Events |= syscall.EPOLLIN
	}
	if want&mOut != 0 {
		e.Events |= syscall.EPOLLOUT
	}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(p.epfd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}

func (p *poller) add(fd int, slot, gen uint32, want mask) error {
	return p.ctl(syscall.EPOLL_CTL_ADD, fd, slot, gen, want)
}

func (p *poller) modify(fd int, slot, gen uint32, _, want mask) error {
	return p.ctl(syscall.EPOLL_CTL_MOD, fd, slot, gen, want)
}

func (p *poller) remove(fd int, _ mask) {
	_ = p.ctl(syscall.EPOLL_CTL_DEL, fd, 0, 0, 0)
}
