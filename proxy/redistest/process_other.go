//go:build !linux

package redistest

import "syscall"

// childAttributes keeps a terminal's ^C from the child. Only Linux can tie a child's life to ours.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
