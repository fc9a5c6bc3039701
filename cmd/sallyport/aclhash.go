package main

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/spf13/cobra"
)

// hashing is what acl hash was told.
type hashing struct {
	path, user string
	argon      bool
}

func newHash(std streams) *cobra.Command {
	var h hashing
	cmd := &cobra.Command{
		Use:   "hash [--config FILE]",
		Short: "Turn a password from standard input into the #sha256 of a rule",
		Long: `Hash reads a password from standard input and prints the word that stands for it
in a user's rules: # and its SHA-256. On a terminal it asks, twice, without
showing what is typed. The password is one line; its line end is not part of it.
With --argon2id it prints an entry of password_hashes instead, which is dear to
guess from.

The password is judged first. With --config that is done by policy.passwords of
that configuration: enforce refuses a password that breaks the rules, report says
so and goes on, off judges nothing. Without, twelve characters and nothing
commonly chosen are asked for, and what is amiss is reported. --user names whose
password it is to be: one made of the name is commonly chosen, and with --config
one that the user has now is no new one. The password is never repeated.

Use long random passwords (sallyport acl genpass): a short one can be found from
its hash.

Exit codes: 0 printed, 1 refused by the rules, 2 bad usage or configuration.`,
		Example: `  sallyport acl hash
  sallyport acl hash --config sallyport.yaml --user app
  sallyport acl genpass | tee secrets/app | sallyport acl hash`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return hash(std, h) },
	}
	optionalConfig(cmd, &h.path)
	cmd.Flags().StringVar(&h.user, "user", "", "the `name` of the user whose password it is to be")
	cmd.Flags().BoolVar(&h.argon, "argon2id", false, "as argon2id, for password_hashes")
	return cmd
}

func hash(std streams, h hashing) error {
	rules := acl.StandardPasswordRules(acl.Report)
	var cfg *config.Config
	if h.path != "" {
		var err error
		if cfg, _, err = load(std, h.path); err != nil {
			return err
		}
		rules = cfg.Policy.PasswordRules()
	}
	password, err := readPassword(std)
	if err != nil {
		return &exit{exitUsage, err}
	}
	if faults := h.judge(cfg, rules, password); len(faults) > 0 {
		what := strings.Join(faults, "; ") + ": sallyport acl genpass makes a strong one"
		if rules.Mode == acl.Enforce {
			return &exit{exitFailure, fmt.Errorf("%s", what)}
		}
		fmt.Fprintln(std.err, "warning:", what)
	}
	word := "#" + acl.HashPassword(password)
	if h.argon {
		if word, err = acl.HashArgon2id(password, rand.Reader); err != nil {
			return &exit{exitFailure, err}
		}
	}
	return printLines(std, []string{word})
}

// judge says what the rules have against the password, a sentence each.
func (h hashing) judge(cfg *config.Config, rules acl.PasswordRules, password []byte) []string {
	faults := rules.Weak(h.user, password)
	if cfg != nil && rules.Mode != acl.Off && rules.Reuse > 0 {
		if u := cfg.Policy.User(h.user); u != nil && u.HasPassword(password) {
			faults |= acl.PasswordReused
		}
	}
	var said []string
	for bit := acl.PasswordFaults(1); bit != 0 && bit <= faults; bit <<= 1 {
		switch {
		case faults&bit == 0:
		case bit == acl.PasswordReused:
			said = append(said, "the password is one that user "+h.user+" has now")
		default:
			said = append(said, rules.Words(bit))
		}
	}
	return said
}

// optionalConfig adds --config to a command that can do without.
func optionalConfig(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "", "the configuration `FILE`")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // it fails for a flag that does not exist
}
