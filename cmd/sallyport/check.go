package main

import (
	"fmt"
	"strings"

	"github.com/sallyport/sallyport/cmd/sallyport/internal/config"
	"github.com/spf13/cobra"
)

func newCheck(std streams) *cobra.Command {
	var path string
	var strict, asJSON bool
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Read everything serve would read and say every fault",
		Long: `Check reads the configuration, the policy, and every certificate, key and
password file they name, as serve would, and says all faults at once, each with
its file, line and column and a hint. It also reports findings: what works but
deserves a look, such as users without a password or certificates near their
end. It opens no socket.

Exit codes: 0 the configuration can be served, 2 it can't, 3 with --strict: it
can, but there are findings.`,
		Example: `  sallyport check --config sallyport.yaml
  sallyport check --strict --json --config sallyport.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return check(std, path, strict, asJSON) },
	}
	configFlag(cmd, &path)
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 3 if there are findings")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// problem is a fault or a finding as check --json writes it.
type problem struct {
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Severity string `json:"severity"` // fault or warning
	What     string `json:"what"`
	Hint     string `json:"hint,omitempty"`
}

func check(std streams, path string, strict, asJSON bool) error {
	_, problems := config.Load(path)
	faults, warnings := len(problems.Faults()), len(problems.Warnings())
	if asJSON {
		if err := printJSON(std, report(problems)); err != nil {
			return err
		}
	} else {
		if err := problems.Print(std.out); err != nil {
			return &exit{exitFailure, err}
		}
		fmt.Fprintf(std.out, "%s: %s\n", path, verdict(faults, warnings))
	}
	switch {
	case faults > 0:
		return &exit{code: exitUsage}
	case strict && warnings > 0:
		return &exit{code: exitFindings}
	}
	return nil
}

func report(problems config.Problems) any {
	list := make([]problem, len(problems))
	for i, p := range problems {
		list[i] = problem{p.At.File, p.At.Line, p.At.Column, "fault", p.What, p.Hint}
		if p.Warning {
			list[i].Severity = "warning"
		}
	}
	return struct {
		OK       bool      `json:"ok"`
		Problems []problem `json:"problems"`
	}{len(problems.Faults()) == 0, list}
}

func verdict(faults, warnings int) string {
	if faults == 0 && warnings == 0 {
		return "ok"
	}
	var parts []string
	if faults > 0 {
		parts = append(parts, count(faults, "fault"))
	}
	if warnings > 0 {
		parts = append(parts, count(warnings, "warning"))
	}
	if faults == 0 {
		return "ok, " + strings.Join(parts, ", ")
	}
	return strings.Join(parts, ", ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// load reads a configuration for a command that needs one without a fault.
func load(std streams, path string) (*config.Config, config.Problems, error) {
	cfg, problems := config.Load(path)
	return usable(std, path, cfg, problems)
}

// usable says the faults of a configuration that can't be used.
func usable(std streams, path string, cfg *config.Config, problems config.Problems) (*config.Config, config.Problems, error) {
	if cfg != nil {
		return cfg, problems, nil
	}
	if err := problems.Faults().Print(std.err); err != nil {
		return nil, nil, &exit{exitFailure, err}
	}
	return nil, nil, &exit{exitUsage, fmt.Errorf("%s can't be used: %s", path, count(len(problems.Faults()), "fault"))}
}
