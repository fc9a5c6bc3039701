package main

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/sallyport/sallyport/tlsutil"
)

// credentials are the PEM files all targets share: ECDSA P-256, one authority, one server pair, one client pair.
type credentials struct {
	ca                    string
	serverCert, serverKey string
	serverBoth            string // certificate and key in one file, as haproxy wants it
	clientCert, clientKey string
}

// makeCredentials writes a development authority and its pairs into a folder below dir.
func makeCredentials(dir string) (credentials, error) {
	made, err := tlsutil.WriteDevDir(filepath.Join(dir, "tls"), tlsutil.DevOptions{
		Hosts:   []string{"localhost", "127.0.0.1"},
		Clients: []tlsutil.DevClient{{Name: "bench"}},
	})
	if err != nil {
		return credentials{}, err
	}
	cert, err := os.ReadFile(made.Server.Certificate)
	if err != nil {
		return credentials{}, err
	}
	key, err := os.ReadFile(made.Server.Key)
	if err != nil {
		return credentials{}, err
	}
	client := made.Clients[0]
	c := credentials{
		ca: made.CA, serverCert: made.Server.Certificate, serverKey: made.Server.Key,
		serverBoth: filepath.Join(dir, "tls", "haproxy.pem"),
		clientCert: client.Certificate, clientKey: client.Key,
	}
	return c, os.WriteFile(c.serverBoth, slices.Concat(cert, key), 0o600)
}
