package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/spf13/cobra"
)

// backendUser is what acl backend-user was told.
type backendUser struct {
	path, name, server    string
	password, tight, bare bool
}

func newBackendUser(std streams) *cobra.Command {
	var b backendUser
	cmd := &cobra.Command{
		Use:   "backend-user [--config FILE]",
		Short: "Print the ACL SETUSER line for the proxy's own user at the backend",
		Long: `Backend-user prints the command that makes the user as which the proxy logs in at
the backend. It may do everything but what the guard's never list keeps from all
clients (of --config, else the standard one): a script runs with the rights of
that user, and nothing in front of Redis can look inside it. What the proxy needs
for itself (HELLO, AUTH, PING, CLIENT, COMMAND, INFO, ROLE, CLUSTER, SELECT) is
kept even where the list names it, and said on standard error.

With --unnamed, guarded commands that no user and no role of the configuration
names are taken away as well: make the line anew when the policy names more.

No password is printed. --password-stdin reads it from standard input and prints
its hash; without, #<sha256> stands in its place, which Redis refuses until you
have put a hash there (sallyport acl hash).

--server leaves out commands that a release does not know: Redis would refuse the
whole line. Give the line to redis-cli, or --rules to a users.acl.`,
		Example: `  sallyport acl backend-user --config sallyport.yaml --password-stdin < secrets/redis | redis-cli
  sallyport acl backend-user --server redis-7.0.15 --name sallyport`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return b.print(std) },
	}
	optionalConfig(cmd, &b.path)
	cmd.Flags().StringVar(&b.name, "name", "sallyport", "the user's `name`")
	cmd.Flags().StringVar(&b.server, "server", "", "the `release` that is to take it (default policy.commands, or the newest)")
	cmd.Flags().BoolVar(&b.password, "password-stdin", false, "read the password from standard input and print its hash")
	cmd.Flags().BoolVar(&b.tight, "unnamed", false, "also deny guarded commands that nobody's rules name")
	cmd.Flags().BoolVar(&b.bare, "rules", false, "as a line of an ACL file instead of a command")
	_ = cmd.RegisterFlagCompletionFunc("server", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return command.Labels(), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

func (b backendUser) print(std streams) error {
	if b.name == "" || strings.ContainsFunc(b.name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`"'\`, r) }) {
		return usage("--name %q: a name without blanks, quotes and backslashes", b.name)
	}
	if b.tight && b.path == "" {
		return usage("--unnamed asks what --config names")
	}
	policy, err := b.policy(std)
	if err != nil {
		return err
	}
	release := policy.Table()
	if b.server != "" {
		if !slices.Contains(command.Labels(), b.server) {
			return usage("--server %q: one of %s", b.server, strings.Join(command.Labels(), ", "))
		}
		release, _ = command.For(b.server)
	}
	hash := "#<sha256>"
	if b.password {
		password, err := readPassword(std)
		if err != nil {
			return &exit{exitUsage, err}
		}
		hash = "#" + acl.HashPassword(password)
	}
	denials, kept := policy.BackendDenials(release, b.tight)
	if len(kept) > 0 {
		fmt.Fprintln(std.err, "kept although it is on the never list, as the proxy needs it; scripts reach it, too:", strings.Join(kept, " "))
	}
	words := []string{"ACL SETUSER", b.name, "reset"}
	if b.bare {
		words = []string{"user", b.name}
	}
	words = append(words, "on", hash, "~*", "&*", "+@all")
	return printLines(std, []string{strings.Join(append(words, denials...), " ")})
}

// policy gives the configuration's, or one that holds the standard guard alone.
func (b backendUser) policy(std streams) (*acl.Policy, error) {
	if b.path == "" {
		p, _ := acl.Compile(acl.Source{Table: command.Newest()})
		return p, nil
	}
	cfg, _, err := load(std, b.path)
	if err != nil {
		return nil, err
	}
	return cfg.Policy, nil
}
