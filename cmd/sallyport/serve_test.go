package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sallyport/sallyport/proxy/redistest"
)

// patience is how long a script waits for something that has to come.
const patience = 15 * time.Second

// startRedis starts a real server for the script and sets $REDIS to its address.
func startRedis(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: redis")
	}
	server, err := redistest.Open(context.Background())
	ts.Check(err)
	ts.Defer(func() { server.Close() })
	ts.Setenv("REDIS", server.Addr())
}

// asks ADDRESS WANT COMMAND ARG… [; COMMAND ARG…] speaks to a proxy over one
// connection until the last reply begins with WANT; a listener that is not there
// yet may come. "! asks ADDRESS" waits until nobody answers there any more, or
// not to this client. ADDRESS is a socket's path, or tls:FOLDER:CLIENT@host:port.
func asks(ts *testscript.TestScript, neg bool, args []string) {
	if neg && len(args) == 1 {
		poll(ts, func() error {
			if got, err := converse(ts, args[0], []string{"PING"}); err == nil {
				return fmt.Errorf("%s still answers: %s", args[0], got)
			}
			return nil
		})
		return
	}
	if neg || len(args) < 3 {
		ts.Fatalf("usage: asks ADDRESS WANT COMMAND ARG… | ! asks ADDRESS")
	}
	poll(ts, func() error {
		got, err := converse(ts, args[0], args[2:])
		if err == nil && !strings.HasPrefix(got, args[1]) {
			err = fmt.Errorf("%s: reply %q, want %q", strings.Join(args[2:], " "), got, args[1])
		}
		return err
	})
}

// converse gives the last reply of a conversation.
func converse(ts *testscript.TestScript, address string, words []string) (string, error) {
	network, conf := "unix", (*tls.Config)(nil)
	if spec, ok := strings.CutPrefix(address, "tls:"); ok {
		var files string
		files, address, _ = strings.Cut(spec, "@")
		network, conf = "tcp", clientTLS(ts, files)
	} else {
		address = ts.MkAbs(address)
	}
	c, err := redistest.Dial(network, address, conf)
	if err != nil {
		return "", err
	}
	defer c.Close()
	var last any
	for len(words) > 0 {
		n := 0
		for n < len(words) && words[n] != ";" {
			n++
		}
		if last, err = c.Do(words[:n]...); err != nil {
			refusal, ok := errors.AsType[redistest.Error](err)
			if !ok {
				return "", err
			}
			last = refusal
		}
		words = words[min(n+1, len(words)):]
	}
	return fmt.Sprint(last), nil
}

// clientTLS is how the client whose pair lies in FOLDER:CLIENT speaks TLS.
func clientTLS(ts *testscript.TestScript, files string) *tls.Config {
	folder, client, _ := strings.Cut(files, ":")
	folder = ts.MkAbs(folder)
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(filepath.Join(folder, "ca.crt"))
	ts.Check(err)
	if !pool.AppendCertsFromPEM(ca) {
		ts.Fatalf("%s/ca.crt holds no certificate", folder)
	}
	conf := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	if client != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(folder, client+".crt"), filepath.Join(folder, client+".key"))
		ts.Check(err)
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf
}

// port NAME sets $NAME to a TCP port of this machine that is free now.
func port(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port NAME")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer ln.Close()
	_, number, err := net.SplitHostPort(ln.Addr().String())
	ts.Check(err)
	ts.Setenv(args[0], number)
}

// askAdmin is http SOCKET METHOD PATH STATUS speaks to the admin endpoints until they answer
// with the status, and leaves the answer's body as standard output.
func askAdmin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: http SOCKET METHOD PATH STATUS")
	}
	socket := ts.MkAbs(args[0])
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	poll(ts, func() error {
		request, err := http.NewRequest(args[1], "http://localhost"+args[2], nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && strconv.Itoa(response.StatusCode) != args[3] {
			err = fmt.Errorf("%s %s: %s: %s", args[1], args[2], response.Status, body)
		}
		if err == nil {
			_, err = ts.Stdout().Write(body)
		}
		return err
	})
}

// signals NAME sends a signal to the command in the background.
func signals(ts *testscript.TestScript, neg bool, args []string) {
	names := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1}
	background := ts.BackgroundCmds()
	if neg || len(args) != 1 || names[args[0]] == nil || len(background) != 1 {
		ts.Fatalf("usage: signals TERM|INT|HUP|USR1, with one command in the background")
	}
	ts.Check(background[0].Process.Signal(names[args[0]]))
}

// holds FILE TEXT waits until a file contains TEXT.
func holds(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: holds FILE TEXT")
	}
	poll(ts, func() error {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && !strings.Contains(string(text), args[1]) {
			err = fmt.Errorf("%s does not hold %q:\n%s", args[0], args[1], text)
		}
		return err
	})
}

// poll tries until there is no error, or patience ends.
func poll(ts *testscript.TestScript, try func() error) {
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			ts.Fatalf("%v", err)
		case <-tick.C:
		}
	}
}
