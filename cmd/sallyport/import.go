package main

import (
	"fmt"
	"io"

	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/spf13/cobra"
)

func newImport(std streams) *cobra.Command {
	return group("import", "Configurations of other proxies",
		"Write a sallyport.yaml from the configuration of another proxy.",
		newImportTwemproxy(std))
}

func newImportTwemproxy(std streams) *cobra.Command {
	return &cobra.Command{
		Use:   "twemproxy FILE",
		Short: "Write a sallyport.yaml from a nutcracker.yml",
		Long: `Twemproxy prints a sallyport.yaml for the Redis pools of a nutcracker.yml. Every
key stays on the node where twemproxy put it: distribution, hash, hash_tag, names,
weights and ejection mean the same. What has no equal here stands in comments.

Users are not part of it: policy.yaml has to be written.`,
		Example: `  sallyport import twemproxy nutcracker.yml >sallyport.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, problems := config.ImportTwemproxy(args[0])
			if err := problems.Print(std.err); err != nil {
				return &exit{exitFailure, err}
			}
			if faults := len(problems.Faults()); faults > 0 {
				return &exit{exitUsage, fmt.Errorf("%s can't be imported: %s", args[0], count(faults, "fault"))}
			}
			if _, err := io.WriteString(std.out, text); err != nil {
				return &exit{exitFailure, err}
			}
			return nil
		},
	}
}
