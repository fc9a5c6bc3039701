package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/spf13/cobra"
)

// bearer is somebody who comes by a token: one that is described, or one that is given.
type bearer struct {
	issuer        string
	roles, values []string
	stdin         bool
}

func (b *bearer) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&b.issuer, "token-issuer", "", "the user comes by a token of this `issuer`; USER is the value of its user claim")
	cmd.Flags().StringSliceVar(&b.roles, "token-roles", nil, "with --token-issuer: `roles` of the policy that the token gives")
	cmd.Flags().StringSliceVar(&b.values, "token-claims", nil, "with --token-issuer: `values` of its roles claim, mapped by the configuration")
	cmd.Flags().BoolVar(&b.stdin, "token-stdin", false, "the user comes by the token on standard input, which is verified")
}

// claims gives what the bearer's token says, nil where nobody comes by one.
func (b *bearer) claims(ctx context.Context, std streams, cfg *config.Config, user string) (*acl.TokenClaims, error) {
	switch {
	case b.stdin && b.issuer != "":
		return nil, usage("--token-stdin and --token-issuer exclude each other")
	case b.stdin:
		raw, err := readToken(std)
		if err != nil {
			return nil, &exit{exitUsage, err}
		}
		claims, err := verified(ctx, cfg.Issuers(), raw, time.Now())
		if refusal := (*token.Error)(nil); errors.As(err, &refusal) {
			return nil, &exit{exitFailure, refusal}
		}
		if err != nil {
			return nil, &exit{exitFailure, err}
		}
		return claims, nil
	case b.issuer == "" && len(b.roles)+len(b.values) > 0:
		return nil, usage("--token-roles and --token-claims belong to --token-issuer")
	case b.issuer == "":
		return nil, nil
	}
	at := slices.IndexFunc(cfg.Issuers(), func(i token.Issuer) bool { return i.Name == b.issuer })
	if at < 0 {
		return nil, usage("--token-issuer %q: tokens: names no such issuer", b.issuer)
	}
	given := cfg.Issuers()[at].Roles.Map
	roles := slices.Clone(b.roles)
	for _, value := range b.values {
		for _, role := range given[value] {
			if !slices.Contains(roles, role) {
				roles = append(roles, role)
			}
		}
	}
	// Any time to come will do: it is not asked how long.
	return &acl.TokenClaims{Issuer: b.issuer, User: user, Roles: roles, Expires: time.Now().Add(time.Hour)}, nil
}

// byToken finds whom a token speaks for, at the listeners that let the address
// in or, without one, at all of them. It gives the user as it is at the first that
// takes the token, and that listener's name; nil after saying why none does.
func (v *explanation) byToken(cfg *config.Config, w whence, addr netip.Addr) (*acl.User, string) {
	listeners := cfg.Listeners()
	if w.listener != "" {
		listeners = []string{w.listener}
	}
	var found *acl.User
	at, why := "", acl.None
	for _, name := range listeners {
		i := slices.IndexFunc(v.From, func(f fromSaid) bool { return f.Listener == name })
		if w.from != "" && (i < 0 || v.From[i].Decision != allowed) {
			continue
		}
		a := acl.Attempt{Listener: name, Addr: addr, User: v.User, Token: w.token, Now: time.Now()}
		pr, reason := cfg.Policy.Authenticate(&a)
		if i >= 0 {
			v.From[i].bears(pr.User, reason, found == nil)
		}
		switch {
		case reason == acl.None && found == nil:
			found, at = pr.User, name
		case reason != acl.None && why == acl.None:
			why = reason
		}
	}
	if found == nil {
		v.refuse(why, "no listener takes the token for this user"+bearerHint(why))
		return nil, ""
	}
	v.User = found.Name()
	return found, at
}

// bears says at a listener what comes of the token there.
func (f *fromSaid) bears(u *acl.User, reason acl.Reason, first bool) {
	*f = fromSaid{Listener: f.Listener, Address: f.Address, Decision: f.Decision, Rule: f.Rule, user: u}
	if reason != acl.None {
		f.Reason = reason.String()
		return
	}
	f.Methods, f.Judged = []string{acl.MethodToken.String()}, first
	for _, name := range u.Roles() {
		f.Roles = append(f.Roles, roleSaid{Role: name, Holds: true})
	}
}

func bearerHint(why acl.Reason) string {
	hints := map[acl.Reason]string{
		acl.TokenWithoutRole: "it gives no role, and no user of the policy names it",
		acl.TokenForOther:    "it speaks for another, or a user of that name does not name the issuer",
		acl.FactorMissing:    "the user needs another proof besides, such as a certificate",
	}
	if hint := hints[why]; hint != "" {
		return ": " + hint
	}
	return ""
}
