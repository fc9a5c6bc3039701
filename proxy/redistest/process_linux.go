package redistest

import "syscall"

// childAttributes has the kernel kill the child when its parent's thread ends, and keeps a terminal's ^C from it:
// who started the server also stops it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
