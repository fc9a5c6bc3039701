package token

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"syscall"
	"time"
)

// What a server of keys may send beside the keys, and how often it may send us
// to another place on the same host.
const (
	maxHeaderBytes = 64 << 10
	maxRedirects   = 3
	maxBearerBytes = 64 << 10
)

// read gets the text of a key set from where it is, within fetchTimeout and
// maxKeyBytes. dial makes the connections; nil is the network.
func (k Keys) read(ctx context.Context, dial dialFunc) ([]byte, error) {
	if k.File != "" {
		return readFile(k.File, maxKeyBytes)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.URL, nil)
	if err != nil {
		return nil, errors.New("the URL can't be used")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	if k.BearerFile != "" {
		credential, err := readFile(k.BearerFile, maxBearerBytes)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(credential)))
	}
	transport := k.transport(req.URL, dial)
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: sameHost}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %d", resp.StatusCode)
	}
	return readAll(resp.Body, maxKeyBytes)
}

// dialFunc makes a connection. Tests that play in virtual time put a server
// without sockets behind it.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// transport makes one for a single fetch: fetches are rare, and nothing stays
// behind of it.
func (k Keys) transport(u *url.URL, dial dialFunc) *http.Transport {
	if dial == nil {
		dialer := net.Dialer{Timeout: fetchTimeout}
		if u.Scheme == "http" {
			dialer.Control = onlyLoopback
		}
		dial = dialer.DialContext
	}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: k.CA},
		TLSHandshakeTimeout:    fetchTimeout,
		ResponseHeaderTimeout:  fetchTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true,
		IdleConnTimeout:        time.Second,
	}
}

// onlyLoopback keeps plain HTTP on this machine, whatever a name resolves to.
func onlyLoopback(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil || !a.Addr().Unmap().IsLoopback() {
		return errors.New("plain HTTP is for loopback addresses only")
	}
	return nil
}

// sameHost follows redirects on the very same host, scheme and port.
func sameHost(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return errors.New("too many redirects")
	case req.URL.Scheme != first.Scheme || req.URL.Host != first.Host:
		return errors.New("the server redirects to another host, which is not followed")
	}
	return nil
}

func readFile(path string, most int) ([]byte, error) {
	// Looked at before it is opened: to open a pipe is to wait for who writes it.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := readAll(f, most)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

func readAll(r io.Reader, most int) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	if err != nil {
		return nil, err
	}
	if len(text) > most {
		return nil, fmt.Errorf("it is longer than %d KiB", most>>10)
	}
	return text, nil
}

// ReadKeyFile reads the file as CheckKeys does, for whoever checks a
// configuration without serving it.
func ReadKeyFile(path string) (KeyInfo, error) {
	text, err := readFile(path, maxKeyBytes)
	if err != nil {
		return KeyInfo{}, err
	}
	return CheckKeys(text)
}

func (k Keys) sameAs(other Keys) bool {
	return k.File == other.File && k.URL == other.URL && k.BearerFile == other.BearerFile && k.CA.Equal(other.CA)
}
