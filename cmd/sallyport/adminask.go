package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// adminAnswer bounds what an admin endpoint may say: metrics are the longest.
const adminAnswer = 16 << 20

// newAdmin asks the admin endpoints of a running proxy, for places that have no
// other HTTP client: health checks and hooks in a container without a shell.
func newAdmin(std streams) *cobra.Command {
	var address string
	var within time.Duration
	sub := func(name, method, path, short string) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: short,
			Example: "  sallyport admin " + name + " --address unix:/run/sallyport/admin.sock",
			Args:    cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				ctx, cancel := context.WithTimeout(cmd.Context(), within)
				defer cancel()
				return askEndpoint(ctx, std.out, address, method, path)
			},
		}
	}
	cmd := group("admin", "Ask a running proxy on its admin address",
		`Admin asks the admin endpoints of a proxy on this machine and prints the answer.
It exits 0 if the endpoint agreed, 1 if it did not or could not be reached, so
that it serves as a health check and as a hook before a container ends.`,
		sub("livez", http.MethodGet, "/livez", "Whether it runs"),
		sub("readyz", http.MethodGet, "/readyz", "Whether clients may be sent to it, and if not, why"),
		sub("version", http.MethodGet, "/version", "Which build runs"),
		sub("metrics", http.MethodGet, "/metrics", "What it counts, as Prometheus reads it"),
		sub("rules", http.MethodGet, "/api/v1/rules", "Each rule in force and how many decisions rested on it"),
		sub("reload", http.MethodPost, "/api/v1/reload", "Read the files again, all or nothing"),
		sub("drain", http.MethodPost, "/api/v1/drain", "Begin to end it: no longer ready, then no new clients, then the end"),
	)
	cmd.PersistentFlags().StringVar(&address, "address", "127.0.0.1:9380", "the admin `ADDRESS` of the configuration: host:port or unix:/path")
	cmd.PersistentFlags().DurationVar(&within, "timeout", 5*time.Second, "how long to wait")
	return cmd
}

// askEndpoint prints what an endpoint answers; an answer that is no success is an error.
func askEndpoint(ctx context.Context, out io.Writer, address, method, path string) error {
	network, host := "tcp", address
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address, host = "unix", strings.TrimPrefix(socket, "//"), "localhost"
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+host+path, nil)
	if err != nil {
		return usage("--address %q: want host:port or unix:/path", address)
	}
	response, err := client.Do(request)
	if err != nil {
		return &exit{exitFailure, fmt.Errorf("ask %s: %w", address, err)}
	}
	defer response.Body.Close()
	if _, err := io.Copy(out, io.LimitReader(response.Body, adminAnswer)); err != nil {
		return &exit{exitFailure, fmt.Errorf("ask %s: %w", address, err)}
	}
	if response.StatusCode/100 != 2 {
		return &exit{code: exitFailure, err: fmt.Errorf("%s: %s", path, response.Status)}
	}
	return nil
}
