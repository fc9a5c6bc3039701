package token

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What stands where an Issuer says nothing.
const (
	DefaultLeeway = 30 * time.Second
	MaxLeeway     = 5 * time.Minute
	DefaultMaxAge = 24 * time.Hour
	MinMaxAge     = time.Minute
	LongestMaxAge = 7 * 24 * time.Hour
)

// Issuer is somebody whose tokens are taken, and what is demanded of them.
type Issuer struct {
	Name       string   // what policy and events call it
	Issuer     string   // the claim iss, equal byte for byte
	Audience   []string // the claim aud must hold one of them …
	Others     []string // … and besides nothing but these and the above
	Algorithms []string // of Algorithms
	Keys       Keys

	// UserClaim is the claim that names the user, absent sub. A claim is named
	// as it stands, or, beginning with a slash, as a JSON pointer (RFC 6901)
	// into nested objects: /realm_access/roles.
	UserClaim string

	// Leeway forgives clocks that differ: it applies to nbf and iat. exp is
	// exact, since sessions end by it. Zero means DefaultLeeway.
	Leeway time.Duration
	Roles  Roles
}

// Roles maps the values of a claim to roles of the policy. Values without an
// entry count for nothing. The claim is a string, an array of strings, or, for
// scope and scp, a string of words.
type Roles struct {
	Claim string
	Map   map[string][]string
}

// Keys is where an issuer's public keys come from: a file or a URL, one of the
// two. Either holds a JSON Web Key Set; a file may hold PEM public keys or
// certificates instead, whose keys then answer to every key id.
type Keys struct {
	File string
	URL  string // https, or http to a loopback address
	// CA verifies the URL's server. Nil: the system's authorities.
	CA *x509.CertPool
	// BearerFile holds a credential to send to the URL, read anew each time.
	BearerFile string
	// MaxAge is how long keys are used after they could last be read. Then the
	// issuer's tokens are refused. Zero means DefaultMaxAge.
	MaxAge time.Duration
}

func (i Issuer) withDefaults() Issuer {
	if i.UserClaim == "" {
		i.UserClaim = "sub"
	}
	if i.Leeway == 0 {
		i.Leeway = DefaultLeeway
	}
	if i.Keys.MaxAge == 0 {
		i.Keys.MaxAge = DefaultMaxAge
	}
	return i
}

// Validate says what is wrong with an issuer, without opening a file or socket.
func (i Issuer) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case i.Name == "":
		bad("name: is missing")
	case !plain(i.Name, false):
		bad("name: holds white space or control characters")
	}
	if i.Issuer == "" {
		bad("issuer: is missing")
	}
	if len(i.Audience) == 0 {
		bad("audience: is missing: any token of this issuer, for whomever it is meant, would be taken")
	}
	if slices.Contains(i.Audience, "") || slices.Contains(i.Others, "") {
		bad("audience: is empty")
	}
	if len(i.Algorithms) == 0 {
		bad("algorithms: is missing")
	}
	for _, a := range i.Algorithms {
		if !known(a) {
			bad("algorithms: %q is none of %s", a, strings.Join(Algorithms(), " "))
		}
	}
	for key, claim := range map[string]string{"user_claim": i.UserClaim, "roles.claim": i.Roles.Claim} {
		if _, err := claimPath(claim); claim != "" && err != nil {
			bad("%s: %w", key, err)
		}
	}
	if len(i.Roles.Map) > 0 && i.Roles.Claim == "" {
		bad("roles.claim: is missing")
	}
	if i.Leeway < 0 || i.Leeway > MaxLeeway {
		bad("leeway: is not between 0s and %v", MaxLeeway)
	}
	if err := i.Keys.validate(); err != nil {
		bad("keys: %w", err)
	}
	return errors.Join(errs...)
}

func (k Keys) validate() error {
	switch {
	case k.File == "" && k.URL == "":
		return errors.New("neither file nor url is given")
	case k.File != "" && k.URL != "":
		return errors.New("file and url are both given")
	case k.MaxAge != 0 && (k.MaxAge < MinMaxAge || k.MaxAge > LongestMaxAge):
		return fmt.Errorf("max_age is not between %v and %v", MinMaxAge, LongestMaxAge)
	case k.File != "" && (k.CA != nil || k.BearerFile != ""):
		return errors.New("a file needs neither ca nor bearer_file")
	case k.URL == "":
		return nil
	}
	u, err := url.Parse(k.URL)
	switch {
	case err != nil:
		// What is wrong with it is left out: it would repeat the URL, and that may hold a secret.
		return errors.New("url is no URL")
	case u.Host == "" || u.Opaque != "":
		return errors.New("url has no host")
	case u.User != nil:
		return errors.New("url holds a user or password; use bearer_file")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return errors.New("url must begin with https:// (http:// only for a loopback address)")
}

// loopback tells whether a host can only be this machine. Where it is a name,
// the dialer checks the address it stands for as well.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
