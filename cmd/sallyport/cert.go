package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/sallyport/sallyport/tlsutil"
	"github.com/spf13/cobra"
)

func newCert(std streams) *cobra.Command {
	return group("cert", "Certificates for development",
		"Make certificates for development and tests. For production use those of your own authority.",
		newDevCert(std))
}

func newDevCert(std streams) *cobra.Command {
	var hosts, clients []string
	var force bool
	cmd := &cobra.Command{
		Use:   "dev DIR",
		Short: "Make a throw-away authority with a server and client certificates",
		Long: `Dev makes a certificate authority, a certificate for the proxy and one for each
client in DIR, and prints the redis-cli line that uses them. Private keys are
written with mode 0600.

An authority that is in DIR already issues the new certificates, so clients can
be added later; other files that exist are kept unless --force is given.

These are for development: the authority's key lies next to what it signed.`,
		Example: `  sallyport cert dev tls
  sallyport cert dev tls --host localhost --host 127.0.0.1 --client app --client batch`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			opts := tlsutil.DevOptions{Hosts: hosts, Force: force}
			for _, name := range clients {
				opts.Clients = append(opts.Clients, tlsutil.DevClient{Name: name})
			}
			dir, err := tlsutil.WriteDevDir(args[0], opts)
			if err != nil {
				return &exit{exitFailure, err}
			}
			return printDevDir(std.out, dir, hosts)
		},
	}
	cmd.Flags().StringArrayVar(&hosts, "host", nil, "a `name` or address of the server, repeatable (default localhost, 127.0.0.1, ::1)")
	cmd.Flags().StringArrayVar(&clients, "client", nil, "a client's `name`, repeatable (default client)")
	cmd.Flags().BoolVar(&force, "force", false, "replace files that exist")
	return cmd
}

func printDevDir(w io.Writer, dir *tlsutil.DevDir, hosts []string) error {
	var b strings.Builder
	for _, f := range dir.Written {
		fmt.Fprintf(&b, "wrote %s\n", f)
	}
	host := "127.0.0.1"
	if len(hosts) > 0 {
		host = hosts[0]
	}
	fmt.Fprintf(&b, `
For development only: whoever has the key of this authority can be anybody.

In sallyport.yaml:
    tls:
      certificate: %s
      key: %s
      client_ca: %s
`, dir.Server.Certificate, dir.Server.Key, dir.CA)
	for i, c := range dir.Clients {
		if i == 0 {
			b.WriteString("\nThen:\n")
		}
		fmt.Fprintf(&b, "  redis-cli -h %s -p 6380 --tls --cacert %s --cert %s --key %s\n",
			word(host), word(dir.CA), word(c.Certificate), word(c.Key))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return &exit{exitFailure, err}
	}
	return nil
}

// word quotes s for a shell where it needs it.
func word(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
