package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/token"
	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/spf13/cobra"
)

func newInspect(std streams) *cobra.Command {
	var path, from, user, listener string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect --config FILE < TOKEN",
		Short: "Show what a token says and whether the configuration would take it",
		Long: `Inspect reads a token from standard input, prints its header and claims without
the signature, and judges it as serve would, with the same code: whether it is
one of a configured issuer, and whom it would log in at which listener.

The issuer's keys are read from where the configuration says, over the network
too. Client certificates are not judged: who needs one besides is shown as
lacking it.

Exit codes: 0 it would be taken, at the listener named or at any; 1 it would not;
2 bad usage or configuration.`,
		Example: `  sallyport token inspect --config sallyport.yaml < token
  sallyport token inspect --config sallyport.yaml --listener gateway --from 10.1.2.3 < token`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			where, err := place(listener, from, user)
			if err != nil {
				return err
			}
			cfg, _, err := load(std, path)
			if err != nil {
				return err
			}
			if listener != "" && !slices.Contains(cfg.Listeners(), listener) {
				return usage("there is no listener %q; there are %s", listener, strings.Join(cfg.Listeners(), ", "))
			}
			raw, err := readToken(std)
			if err != nil {
				return &exit{exitUsage, err}
			}
			v, err := inspect(cmd.Context(), cfg, raw, where, time.Now())
			if err != nil {
				return &exit{exitFailure, err}
			}
			if asJSON {
				err = printJSON(std, v)
			} else {
				err = v.print(std.out)
			}
			if err == nil && !v.Taken {
				err = &exit{code: exitFailure}
			}
			return err
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().StringVar(&listener, "listener", "", "judge at this listener only (default all)")
	cmd.Flags().StringVar(&from, "from", "", "the client's `address`")
	cmd.Flags().StringVar(&user, "user", "", "the `name` given with the token (default the one it says)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// place gives the attempt that the flags describe.
func place(listener, from, user string) (acl.Attempt, error) {
	a := acl.Attempt{Listener: listener, User: user}
	if from != "" {
		addr, err := netip.ParseAddr(from)
		if err != nil {
			return a, usage("--from %q is not an IP address", from)
		}
		a.Addr = addr.Unmap()
	}
	return a, nil
}

// inspection is what inspect found out, in the form of its JSON.
type inspection struct {
	Header   json.RawMessage `json:"header,omitempty"`
	Claims   json.RawMessage `json:"claims,omitempty"`
	Taken    bool            `json:"taken"`
	Why      string          `json:"why,omitempty"` // not
	Issuer   string          `json:"issuer,omitempty"`
	User     string          `json:"user,omitempty"`
	Subject  string          `json:"subject,omitempty"`
	Roles    []string        `json:"roles,omitempty"`
	TokenID  string          `json:"token_id,omitempty"`
	Expires  *time.Time      `json:"expires,omitempty"`
	Logins   []loginSaid     `json:"logins,omitempty"`
	contents *token.Contents
}

// loginSaid is what comes of the token at one listener.
type loginSaid struct {
	Listener string   `json:"listener"`
	Decision string   `json:"decision"`
	Reason   string   `json:"reason,omitempty"`
	User     string   `json:"user,omitempty"`
	Roles    []string `json:"roles,omitempty"`
}

func inspect(ctx context.Context, cfg *config.Config, raw []byte, a acl.Attempt, now time.Time) (*inspection, error) {
	v := &inspection{}
	if c, err := token.Inspect(raw); err == nil {
		v.contents, v.Header, v.Claims = c, json.RawMessage(c.Header), json.RawMessage(c.Claims)
	}
	claims, err := verified(ctx, cfg.Issuers(), raw, now)
	var refusal *token.Error
	switch {
	case errors.As(err, &refusal):
		v.Issuer, v.TokenID, v.Why = refusal.Issuer, refusal.TokenID, err.Error()
		return v, nil
	case err != nil:
		return nil, err
	}
	v.Issuer, v.User, v.Subject, v.Roles, v.TokenID, v.Expires = claims.Issuer, claims.User, claims.Subject, claims.Roles, claims.ID, &claims.Expires
	a.Token, a.Password, a.Now = claims, raw, now
	if a.User == "" {
		a.User = claims.User
	}
	listeners := cfg.Listeners()
	if a.Listener != "" {
		listeners = []string{a.Listener}
	}
	for _, name := range listeners {
		v.login(cfg.Policy, name, a)
	}
	if !v.Taken {
		v.Why = "the token is good, and the policy lets nobody in by it"
	}
	return v, nil
}

func (v *inspection) login(p *acl.Policy, listener string, a acl.Attempt) {
	a.Listener = listener
	said := loginSaid{Listener: listener, Decision: allowed}
	pr, reason := p.Authenticate(&a)
	if reason != acl.None {
		said.Decision, said.Reason = refused, reason.String()
	} else {
		v.Taken = true
		said.User, said.Roles = pr.User.Name(), pr.User.Roles()
	}
	v.Logins = append(v.Logins, said)
}

// verified proves a token. Only the keys of the issuer in question are read.
func verified(ctx context.Context, issuers []token.Issuer, raw []byte, now time.Time) (*acl.TokenClaims, error) {
	v, err := token.New(issuers, token.Options{})
	if err != nil {
		return nil, err
	}
	claims, err := v.Verify(raw, now)
	var refusal *token.Error
	if !errors.As(err, &refusal) || !refusal.NeedsKeys() {
		return claims, err
	}
	at := slices.IndexFunc(issuers, func(i token.Issuer) bool { return i.Name == refusal.Issuer })
	if v, err = token.New(issuers[at:at+1], token.Options{}); err != nil {
		return nil, err
	}
	if err := v.Load(ctx); err != nil {
		return nil, fmt.Errorf("%w; %w", refusal, err)
	}
	return v.Verify(raw, now)
}

func (v *inspection) print(w io.Writer) error {
	var b strings.Builder
	if v.contents != nil {
		fmt.Fprintf(&b, "header\n%s\n\nclaims\n%s\n\n", v.contents.Header, v.contents.Claims)
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-9s %s\n", name, printable(value)) // an issuer may let people choose what they are called
		}
	}
	line("issuer", v.Issuer)
	line("user", v.User)
	line("roles", strings.Join(v.Roles, ", "))
	line("token id", v.TokenID)
	if v.Expires != nil {
		line("expires", v.Expires.Format(time.RFC3339))
	}
	for _, l := range v.Logins {
		what := refused + ": " + l.Reason
		if l.Decision == allowed {
			what = "logs in as " + l.User
			if len(l.Roles) > 0 {
				what += " with " + strings.Join(l.Roles, ", ")
			}
		}
		line("listener", l.Listener+": "+what)
	}
	if v.Taken {
		line("verdict", "taken")
	} else {
		line("verdict", "refused: "+v.Why)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return &exit{exitFailure, err}
	}
	return nil
}
