// Sallyport-demo shows the whole thing on one screen: a development CA, a
// mutual-TLS listener, a policy with two users, a backend, and what happens
// when they meet. It is a program of its own so that the product never links
// the embedded backend. Nothing here is for production.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set at build time.
var version = "dev"

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments. It returns the exit code.
func run(args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("sallyport-demo", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprint(errs, usage)
		flags.PrintDefaults()
	}
	once := flags.Bool("once", false, "end after the tour; exit 0 only if every step did what it should")
	backend := flags.String("redis", "", "`HOST:PORT` of a real redis-server to use instead of the embedded one")
	address := flags.String("address", "127.0.0.1:6380", "where the mutual-TLS listener binds; port 0 takes a free one")
	if err := flags.Parse(args); err != nil {
		if err == flag.ErrHelp {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(errs, "sallyport-demo: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	stage, err := raise(*address, *backend, *once)
	if err != nil {
		fmt.Fprintln(errs, "sallyport-demo:", err)
		return 1
	}
	defer stage.close()
	failed := stage.tour(ctx, out)
	if failed > 0 {
		fmt.Fprintf(out, "\n%d step(s) did not do what they should.\n", failed)
		return 1
	}
	if *once {
		return 0
	}
	stage.invite(out)
	<-ctx.Done()
	fmt.Fprintln(out, "\nThe demo ends; its certificates and keys are removed.")
	return 0
}

const usage = `sallyport-demo: a tour of Sallyport with a throw-away CA and an embedded backend.
Not for production: keys are made on the spot and deleted at the end.

usage: sallyport-demo [--once] [--redis HOST:PORT] [--address HOST:PORT]

`
