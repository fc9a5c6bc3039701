package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/sallyport/sallyport/tlsutil"
	"github.com/spf13/cobra"
)

// adminAnswer bounds what an admin endpoint may say: metrics are the longest.
const adminAnswer = 16 << 20

// inquiry is whom to ask, and what is shown of who asks.
type inquiry struct {
	address   string
	within    time.Duration
	tls       tlsutil.ClientOptions // all empty: plain HTTP
	tokenFile string                // holds a bearer token; empty: none is sent
}

// newAdmin asks the admin endpoints of a running proxy, for places that have no
// other HTTP client: health checks and hooks in a container without a shell.
func newAdmin(std streams) *cobra.Command {
	var q inquiry
	sub := func(name, method, path, short string) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: short,
			Example: "  sallyport admin " + name + " --address unix:/run/sallyport/admin.sock",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				ctx, cancel := context.WithTimeout(cmd.Context(), q.within)
				defer cancel()
				return q.ask(ctx, std.out, method, path)
			},
		}
	}
	cmd := group("admin", "Ask a running proxy on its admin address",
		`Admin asks the admin endpoints of a running proxy and prints the answer. It
exits 0 if the endpoint agreed, 1 if it did not or could not be reached, so that
it serves as a health check and as a hook before a container ends.

Any of --ca, --cert, --key and --server-name means TLS. Where admin.users says who
may do what, --cert and --key or --token-file say who asks.`,
		sub("livez", http.MethodGet, "/livez", "Whether it runs"),
		sub("readyz", http.MethodGet, "/readyz", "Whether clients may be sent to it, and if not, why"),
		sub("version", http.MethodGet, "/version", "Which build runs"),
		sub("metrics", http.MethodGet, "/metrics", "What it counts, as Prometheus reads it"),
		sub("rules", http.MethodGet, "/api/v1/rules", "Each rule in force and how many decisions rested on it"),
		sub("reload", http.MethodPost, "/api/v1/reload", "Read the files again, all or nothing"),
		sub("drain", http.MethodPost, "/api/v1/drain", "Begin to end it: no longer ready, then no new clients, then the end"),
	)
	flags := cmd.PersistentFlags()
	flags.StringVar(&q.address, "address", "127.0.0.1:9380", "the admin `ADDRESS` of the configuration: host:port or unix:/path")
	flags.DurationVar(&q.within, "timeout", 5*time.Second, "how long to wait")
	flags.StringVar(&q.tls.CAFile, "ca", "", "`FILE` of the authority of the proxy's certificate; without it, this machine's own are believed")
	flags.StringVar(&q.tls.CertificateFile, "cert", "", "`FILE` of the certificate to show")
	flags.StringVar(&q.tls.KeyFile, "key", "", "`FILE` of its key")
	flags.StringVar(&q.tls.ServerName, "server-name", "", "`NAME` that the proxy's certificate must have, if not the address's")
	flags.StringVar(&q.tokenFile, "token-file", "", "`FILE` of one line, a token of admin.users")
	return cmd
}

// ask prints what an endpoint answers; an answer that is no success is an error.
func (q *inquiry) ask(ctx context.Context, out io.Writer, method, path string) error {
	transport, request, err := q.prepare(ctx, method, path)
	if err != nil {
		return err
	}
	// Nothing redirects there, and a token goes nowhere else.
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return &exit{exitFailure, fmt.Errorf("ask %s: %w", q.address, err)}
	}
	defer response.Body.Close()
	if _, err := io.Copy(out, io.LimitReader(response.Body, adminAnswer)); err != nil {
		return &exit{exitFailure, fmt.Errorf("ask %s: %w", q.address, err)}
	}
	if response.StatusCode/100 != 2 {
		return &exit{code: exitFailure, err: fmt.Errorf("%s: %s", path, response.Status)}
	}
	return nil
}

// prepare makes the request and the way it goes; what is wrong with a flag or its
// file is wrong usage.
func (q *inquiry) prepare(ctx context.Context, method, path string) (*http.Transport, *http.Request, error) {
	network, address, host := "tcp", q.address, q.address
	name, port, err := net.SplitHostPort(address)
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address, host, name = "unix", strings.TrimPrefix(socket, "//"), "localhost", "localhost"
	} else if err != nil || name == "" {
		return nil, nil, usage("--address %q: want host:port or unix:/path", q.address)
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	scheme := "http"
	if q.tls.CAFile+q.tls.CertificateFile+q.tls.KeyFile+q.tls.ServerName != "" {
		scheme = "https"
		if transport.TLSClientConfig, err = q.secured(name); err != nil {
			return nil, nil, err
		}
		// The proxy answers to names that its certificate has, and to no other.
		if q.tls.ServerName != "" && network == "tcp" {
			host = net.JoinHostPort(q.tls.ServerName, port)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, scheme+"://"+host+path, nil)
	if err != nil {
		return nil, nil, usage("--address %q: want host:port or unix:/path", q.address)
	}
	if q.tokenFile == "" {
		return transport, request, nil
	}
	if scheme == "http" && network != "unix" && !loopback(name) {
		return nil, nil, usage("--token-file: the token would cross the network unencrypted: name --ca")
	}
	token, err := tokenIn(q.tokenFile)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	return transport, request, nil
}

// secured is our side of TLS with a proxy at name.
func (q *inquiry) secured(name string) (*tls.Config, error) {
	client, err := tlsutil.LoadClient(q.tls)
	if err != nil {
		return nil, &exit{exitUsage, fmt.Errorf("TLS of the admin address: %w", err)}
	}
	conf, err := client.Config(name)
	if err != nil {
		return nil, &exit{exitUsage, err}
	}
	return conf, nil
}

// tokenIn gives the token in a file that nobody else may read.
func tokenIn(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", &exit{exitUsage, fmt.Errorf("--token-file: %w", err)}
	}
	if what, refused := tlsutil.JudgeSecret(path, info.Mode()); refused {
		return "", usage("--token-file %s: it %s: chmod 0600", path, what)
	}
	text, err := readSecret("--token-file", path)
	if err != nil {
		return "", err
	}
	for _, c := range text {
		if c <= ' ' || c > '~' {
			return "", usage("--token-file %s: a token has neither spaces nor control characters", path)
		}
	}
	if len(text) == 0 {
		return "", usage("--token-file %s: is empty", path)
	}
	return string(text), nil
}

// loopback reports a host that is this machine.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}
