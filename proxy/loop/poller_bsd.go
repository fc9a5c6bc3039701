//go:build (darwin || freebsd) && (amd64 || arm64)

package loop

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

const (
	filterUser   = evfiltUser // wakes the loop
	noteTrigger  = 0x01000000
	wakeIdent    = 0
	changesLimit = 2
)

// kevent is syscall.Kevent_t with the user data as a number: it carries a slot
// and its generation, which the garbage collector must not take for a pointer.
type kevent struct {
	ident  uint64
	filter int16
	flags  uint16
	fflags uint32
	data   int64
	udata  uint64
}

var _ [unsafe.Sizeof(kevent{})]byte = [unsafe.Sizeof(syscall.Kevent_t{})]byte{}

// poller is kqueue, level-triggered.
type poller struct {
	kq     int
	events [batch]kevent
}

func (p *poller) open() error {
	kq, err := syscall.Kqueue()
	if err != nil {
		return os.NewSyscallError("kqueue", err)
	}
	syscall.CloseOnExec(kq)
	p.kq = kq
	err = p.change(kevent{ident: wakeIdent, filter: filterUser, flags: syscall.EV_ADD | syscall.EV_CLEAR,
		udata: uint64(wakeSlot) << 32})
	if err != nil {
		p.close()
	}
	return err
}

func (p *poller) close() { closeFD(p.kq) }

func (p *poller) change(changes ...kevent) error {
	var list [changesLimit]kevent
	n := copy(list[:], changes)
	_, err := syscall.Kevent(p.kq, native(list[:n]), nil, nil)
	if err != nil {
		return os.NewSyscallError("kevent", err)
	}
	return nil
}

// native is the same memory under the system's type, which has the same layout.
func native(k []kevent) []syscall.Kevent_t {
	if len(k) == 0 {
		return nil
	}
	return unsafe.Slice((*syscall.Kevent_t)(unsafe.Pointer(&k[0])), len(k))
}

func (p *poller) poll() int {
	return p.wait(&syscall.Timespec{})
}

// block waits for at most d; negative: for ever.
func (p *poller) block(d time.Duration) int {
	if d < 0 {
		return p.wait(nil)
	}
	at := syscall.NsecToTimespec(int64(d))
	return p.wait(&at)
}

func (p *poller) wait(at *syscall.Timespec) int {
	n, err := syscall.Kevent(p.kq, nil, native(p.events[:]), at)
	if err != nil {
		return 0
	}
	return n
}

// event decodes the i-th of the last poll.
func (p *poller) event(i int) (slot, gen uint32, ready mask) {
	e := &p.events[i]
	switch e.filter {
	case syscall.EVFILT_READ:
		ready = mIn
	case syscall.EVFILT_WRITE:
		ready = mOut
	}
	return uint32(e.udata >> 32), uint32(e.udata), ready
}

// wake ends a block. Safe from any goroutine while the poller is open.
func (p *poller) wake() {
	_ = p.change(kevent{ident: wakeIdent, filter: filterUser, fflags: noteTrigger, udata: uint64(wakeSlot) << 32})
}

func (p *poller) add(fd int, slot, gen uint32, want mask) error {
	return p.modify(fd, slot, gen, 0, want)
}

// modify adds and deletes filters; kqueue reports nothing about a descriptor without one.
func (p *poller) modify(fd int, slot, gen uint32, was, want mask) error {
	var changes []kevent
	for _, f := range [...]struct {
		bit    mask
		filter int16
	}{{mIn, syscall.EVFILT_READ}, {mOut, syscall.EVFILT_WRITE}} {
		if (was^want)&f.bit == 0 {
			continue
		}
		k := kevent{ident: uint64(fd), filter: f.filter, flags: syscall.EV_DELETE, udata: uint64(slot)<<32 | uint64(gen)}
		if want&f.bit != 0 {
			k.flags = syscall.EV_ADD
		}
		changes = append(changes, k)
	}
	if len(changes) == 0 {
		return nil
	}
	return p.change(changes...)
}

func (p *poller) remove(fd int, was mask) {
	_ = p.modify(fd, 0, 0, was, 0)
}

// hold is for pollers that a signal ends.
func (p *poller) hold(time.Duration) int { return 0 }
