package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sallyport/sallyport/acl/token"
	"github.com/spf13/cobra"
)

func newToken(std streams) *cobra.Command {
	return group("token", "Tokens for development, and what a token is worth",
		"Issue tokens for development and tests, and see what a token says and whether a configuration would take it.",
		newIssue(std), newInspect(std))
}

// order is what token issue is asked for.
type order struct {
	key, newKey, keySet, algorithm string
	issuer, subject                string
	audience, claims               []string
	expires                        time.Duration
}

func newIssue(std streams) *cobra.Command {
	var o order
	cmd := &cobra.Command{
		Use:   "issue (--key FILE | --new-key FILE) --issuer URL --audience NAME --subject NAME",
		Short: "Issue a token for development and tests",
		Long: `Issue signs a token with a private key of yours and prints it. Name the issuer
and its public keys (--key-set) under tokens: in policy.yaml, and the token is
taken in the place of a password.

This is for development and tests: in production an identity provider issues
tokens, and no signing key lies where Redis or its proxy can be reached.

A claim is name=text, or name:=JSON for anything but a string. One that is named
here takes the place of what the other flags give.`,
		Example: `  sallyport token issue --new-key dev.key --key-set dev.jwks.json --issuer https://dev.example --audience redis --subject app
  sallyport token issue --key dev.key --issuer https://dev.example --audience redis --subject app --claim 'roles:=["readers"]' --expires 5m`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return issue(std, &o, time.Now()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.key, "key", "", "the private key's PEM `FILE`")
	f.StringVar(&o.newKey, "new-key", "", "make a key and write it to this `FILE` (mode 0600), which must not exist")
	f.StringVar(&o.keySet, "key-set", "", "write the public key to this `FILE`, as a JSON Web Key Set")
	f.StringVar(&o.algorithm, "algorithm", "", "the signature's `algorithm` (default the key's usual one; ES256 for a new key)")
	f.StringVar(&o.issuer, "issuer", "", "the claim iss (required)")
	f.StringArrayVar(&o.audience, "audience", nil, "the claim aud, repeatable (required)")
	f.StringVar(&o.subject, "subject", "", "the claim sub (required)")
	f.StringArrayVar(&o.claims, "claim", nil, "a further claim, `name=text` or name:=JSON, repeatable")
	f.DurationVar(&o.expires, "expires", time.Hour, "how long the token lives")
	for _, name := range []string{"issuer", "audience", "subject"} {
		_ = cmd.MarkFlagRequired(name) // fails for a flag that does not exist only
	}
	cmd.MarkFlagsOneRequired("key", "new-key")
	cmd.MarkFlagsMutuallyExclusive("key", "new-key")
	return cmd
}

func issue(std streams, o *order, now time.Time) error {
	claims, err := o.body(now)
	if err != nil {
		return err
	}
	signer, err := o.signer()
	if err != nil {
		return err
	}
	if o.keySet != "" {
		text, err := signer.KeySet()
		if err == nil {
			err = writeNew(o.keySet, text, 0o644)
		}
		if err != nil {
			return &exit{exitFailure, err}
		}
	}
	text, err := signer.Sign(claims)
	if err != nil {
		return &exit{exitFailure, err}
	}
	fmt.Fprintln(std.err, "For development and tests only: whoever has this key can be anybody.")
	return printLines(std, []string{text})
}

// body builds the claims.
func (o *order) body(now time.Time) (map[string]any, error) {
	if o.expires <= 0 {
		return nil, usage("--expires %v is not in the future; --claim exp:=SECONDS makes a token that has expired", o.expires)
	}
	claims := map[string]any{
		"iss": o.issuer, "sub": o.subject, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(o.expires).Unix(),
	}
	if claims["aud"] = o.audience; len(o.audience) == 1 {
		claims["aud"] = o.audience[0]
	}
	for _, c := range o.claims {
		name, value, ok := strings.Cut(c, "=")
		if !ok || name == "" || name == ":" {
			return nil, usage("--claim %q is neither name=text nor name:=JSON", c)
		}
		name, isJSON := strings.CutSuffix(name, ":")
		if !isJSON {
			claims[name] = value
			continue
		}
		if !json.Valid([]byte(value)) {
			return nil, usage("--claim %s:= is followed by what is no JSON", name)
		}
		claims[name] = json.RawMessage(value)
	}
	return claims, nil
}

func (o *order) signer() (*token.Signer, error) {
	if o.newKey != "" {
		signer, secret, err := token.NewSigner(o.algorithm)
		if err != nil {
			return nil, usage("%w", err)
		}
		if err := writeNew(o.newKey, secret, 0o600); err != nil {
			return nil, &exit{exitFailure, err}
		}
		return signer, nil
	}
	text, err := os.ReadFile(o.key)
	if err != nil {
		return nil, &exit{exitFailure, err}
	}
	signer, err := token.ParseSigner(text, o.algorithm)
	if err != nil {
		return nil, usage("%s: %w", o.key, err)
	}
	return signer, nil
}

// writeNew writes a file that must not exist yet, unless it holds this already.
func writeNew(path string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, os.ErrExist) {
		if old, readErr := os.ReadFile(path); readErr == nil && bytes.Equal(old, text) {
			return nil
		}
		return fmt.Errorf("%s exists already, nothing was written", path)
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// readToken reads the token from standard input: one line.
func readToken(std streams) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(std.in, token.MaxBytes+3))
	if err != nil {
		return nil, fmt.Errorf("read the token: %w", err)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) == 0 {
		return nil, errors.New("standard input holds no token")
	}
	return text, nil
}
