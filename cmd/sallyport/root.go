package main

import (
	"github.com/spf13/cobra"
)

func newRoot(std streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "A guarded way in to Redis",
		Long: `Sallyport is a proxy in front of Redis: it terminates (mutual) TLS, knows who is
on the line, decides every command by Redis's own ACL rules and a guard on top,
records security events, and forwards what is allowed.

Exit codes: 0 success, 1 failure while running (explain: refused), 2 wrong usage
or a bad configuration, 3 findings under check --strict.`,
		Example: `  sallyport cert dev tls --client app
  sallyport check --config sallyport.yaml
  sallyport serve --config sallyport.yaml
  sallyport explain --config sallyport.yaml app GET app:1`,
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Help(); err != nil {
				return err
			}
			return &exit{code: exitUsage}
		},
	}
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(
		newServe(std),
		newCheck(std),
		newExplain(std),
		newACL(std),
		newCert(std),
		newImport(std),
		newToken(std),
		newAudit(std),
		newAdmin(std),
		newMan(),
		newVersion(std),
	)
	return root
}

// configFlag adds --config, which names the one file everything starts from.
func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "", "the configuration `FILE` (required)")
	// Both can only fail for a flag that does not exist.
	_ = cmd.MarkFlagRequired("config")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
}

// group makes a command that only holds others: alone it shows its help and fails.
func group(use, short, long string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Help(); err != nil {
				return err
			}
			return &exit{code: exitUsage}
		},
	}
	cmd.AddCommand(subs...)
	return cmd
}
