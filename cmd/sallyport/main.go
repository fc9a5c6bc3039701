// Command sallyport is a proxy in front of Redis that terminates TLS, knows who
// is on the line, decides every command and writes down what security people
// ask for.
//
// A file each holds the commands; the work is done by the packages they compose.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// The exit codes, part of the command's contract.
const (
	exitOK       = 0
	exitFailure  = 1 // it ran and failed; for explain: the call would be refused
	exitUsage    = 2 // wrong usage or a bad configuration
	exitFindings = 3 // check --strict found something to look at
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// streams are the process's standard streams, given so that nothing else in
// here reaches for them.
type streams struct {
	in  *os.File
	out io.Writer
	err *os.File
}

// exit is an error that carries its exit code. With a nil err everything has
// been said already.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exit{exitUsage, fmt.Errorf(format, args...)}
}

// run executes one command line and gives the exit code.
func run(ctx context.Context, args []string, std streams) int {
	root := newRoot(std)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var e *exit
	if !errors.As(err, &e) {
		// Flags and arguments are judged by the command library before any of
		// ours runs; everything that runs wraps its errors.
		e = &exit{exitUsage, err}
	}
	if e.err != nil {
		fmt.Fprintf(std.err, "sallyport: %s\n", e.err)
		if e.code == exitUsage {
			fmt.Fprintln(std.err, `Run "sallyport --help" for how to use it.`)
		}
	}
	return e.code
}
