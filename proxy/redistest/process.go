package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is a child that ends when its parent does, whatever happens to the parent (on Linux). A goroutine of its own
// starts it and waits for it, locked to its thread: the kernel ties the "die with your parent" signal to the thread
// that forked, so that thread has to live as long. Methods are safe for concurrent use.
type Process struct {
	pid  int
	done chan struct{} // closed after the process was reaped
	err  error         // how it ended; read after done
}

// StartProcess runs binary with its output appended to the file logPath (0600). It returns once the child runs; the
// caller ends it by End or Kill. A ^C on the terminal does not reach the child.
func StartProcess(binary string, args []string, logPath string) (*Process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &Process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		defer func() { _ = log.Close() }()
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := exec.Command(binary, args...)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = childAttributes()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	return p, nil
}

// Pid is the child's process id, after its end too.
func (p *Process) Pid() int { return p.pid }

// Done is closed when the child has ended and was reaped; Err then says how.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the child ended: nil for exit 0. It waits for the end.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// running reports whether the process was not reaped yet. A pid is signalled only while it is.
func (p *Process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends sig; a process that is gone already is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	if !p.running() {
		return nil
	}
	if err := syscall.Kill(p.pid, sig); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("signal process: %w", err)
	}
	return nil
}

// End asks by TERM, insists by KILL after grace, and returns when the process is reaped.
// A stopped process is continued first, since TERM waits for it.
func (p *Process) End(grace time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := p.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return p.Kill()
	}
}

// Kill sends SIGKILL and returns when the process is reaped.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}
