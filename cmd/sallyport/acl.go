package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newACL(std streams) *cobra.Command {
	return group("acl", "Passwords, categories, and the backend's own user",
		"Make what policy.yaml needs (password hashes, strong passwords, what a category holds) and the\nline that makes the proxy's own user at the backend.",
		newHash(std), newGenPass(std), newCat(std), newBackendUser(std))
}

// readPassword reads one line from standard input, unseen where it is a terminal.
func readPassword(std streams) ([]byte, error) {
	if term.IsTerminal(int(std.in.Fd())) {
		return askPassword(std)
	}
	const most = 1 << 20
	text, err := io.ReadAll(io.LimitReader(std.in, most+1))
	if err != nil {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	switch {
	case len(text) == 0:
		return nil, errors.New("standard input holds no password")
	case len(text) > most:
		return nil, errors.New("the password is longer than 1 MiB")
	case bytes.ContainsAny(text, "\r\n"):
		return nil, errors.New("standard input holds more than one line")
	}
	return text, nil
}

func askPassword(std streams) ([]byte, error) {
	ask := func(prompt string) ([]byte, error) {
		fmt.Fprint(std.err, prompt)
		text, err := term.ReadPassword(int(std.in.Fd()))
		fmt.Fprintln(std.err)
		return text, err
	}
	first, err := ask("Password: ")
	if err != nil {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	if len(first) == 0 {
		return nil, errors.New("the password is empty")
	}
	again, err := ask("Again: ")
	if err != nil {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	if !bytes.Equal(first, again) {
		return nil, errors.New("the two are not the same")
	}
	return first, nil
}

func newGenPass(std streams) *cobra.Command {
	return &cobra.Command{
		Use:   "genpass",
		Short: "Make a strong password",
		Long: `Genpass prints a password of 256 random bits as 64 hexadecimal digits, as Redis's
ACL GENPASS does. Give it to the client; put its hash into the policy.`,
		Example: "  umask 077; sallyport acl genpass > secrets/app\n  sallyport acl hash < secrets/app",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			password, err := acl.GenPass(rand.Reader)
			if err != nil {
				return &exit{exitFailure, err}
			}
			fmt.Fprintln(std.out, password)
			return nil
		},
	}
}

func newCat(std streams) *cobra.Command {
	return &cobra.Command{
		Use:   "cat [CATEGORY]",
		Short: "List the categories, or the commands of one",
		Long: `Cat lists the categories that rules can name with @, or the commands and
subcommands that one of them holds, as Redis's ACL CAT does.`,
		Example: "  sallyport acl cat\n  sallyport acl cat dangerous",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return command.Newest().Categories().Names(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			table := command.Newest()
			if len(args) == 0 {
				return printLines(std, table.Categories().Names())
			}
			name := strings.TrimPrefix(strings.ToLower(args[0]), "@")
			category, ok := command.CategoryByName(name)
			if !ok {
				hint := config.DidYouMean(name, table.Categories().Names())
				if hint == "" {
					hint = "sallyport acl cat lists them"
				}
				return usage("there is no category %q; %s", args[0], hint)
			}
			var names []string
			for _, spec := range table.Specs() {
				if spec.Categories&category != 0 {
					names = append(names, spec.Name)
				}
			}
			slices.Sort(names)
			return printLines(std, names)
		},
	}
}

func printLines(std streams, lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(std.out, line); err != nil {
			return &exit{exitFailure, err}
		}
	}
	return nil
}
