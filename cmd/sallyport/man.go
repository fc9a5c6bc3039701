package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// newMan writes the manual pages. Packages are built with it; nobody needs it
// besides, so help does not show it.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the manual pages into a folder",
		Example: "  sallyport man /usr/share/man/man1",
		Hidden:  true,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := writeManuals(cmd.Root(), args[0]); err != nil {
				return &exit{exitFailure, err}
			}
			return nil
		},
	}
}

// writeManuals writes a page for a command and each one below it.
func writeManuals(cmd *cobra.Command, dir string) error {
	if cmd.Hidden || cmd.Name() == "help" {
		return nil
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	var page strings.Builder
	writeManual(&page, cmd, name)
	if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(page.String()), 0o644); err != nil {
		return err
	}
	for _, sub := range cmd.Commands() {
		if err := writeManuals(sub, dir); err != nil {
			return err
		}
	}
	return nil
}

// writeManual writes one page for man(7)'s macros. It holds no date, so that two
// builds are the same.
func writeManual(w io.Writer, cmd *cobra.Command, name string) {
	fmt.Fprintf(w, ".TH %s 1 \"\" \"Sallyport %s\" \"Sallyport\"\n", strings.ToUpper(roff(name)), roff(version))
	fmt.Fprintf(w, ".SH NAME\n%s \\- %s\n", roff(name), roff(cmd.Short))
	fmt.Fprintf(w, ".SH SYNOPSIS\n.B %s\n", roff(cmd.UseLine()))
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	fmt.Fprintf(w, ".SH DESCRIPTION\n%s", paragraphs(long))
	writeFlags(w, "OPTIONS", cmd.NonInheritedFlags())
	writeFlags(w, "OPTIONS OF THE COMMANDS ABOVE", cmd.InheritedFlags())
	if cmd.Example != "" {
		fmt.Fprintf(w, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(strings.TrimRight(cmd.Example, "\n")))
	}
	var also []string
	if cmd.HasParent() {
		also = append(also, strings.ReplaceAll(cmd.Parent().CommandPath(), " ", "-"))
	}
	for _, sub := range cmd.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			also = append(also, strings.ReplaceAll(sub.CommandPath(), " ", "-"))
		}
	}
	if len(also) > 0 {
		fmt.Fprint(w, ".SH SEE ALSO\n")
		for i, page := range also {
			comma := ","
			if i == len(also)-1 {
				comma = ""
			}
			fmt.Fprintf(w, ".BR %s (1)%s\n", roff(page), comma)
		}
	}
}

// flagList is a command's own flags, or those of the commands above it.
type flagList interface {
	HasAvailableFlags() bool
	FlagUsages() string
}

func writeFlags(w io.Writer, title string, flags flagList) {
	if flags.HasAvailableFlags() {
		fmt.Fprintf(w, ".SH %s\n.nf\n%s\n.fi\n", title, roff(strings.TrimRight(flags.FlagUsages(), "\n")))
	}
}

// paragraphs keeps blank lines, and the lines of what is indented.
func paragraphs(text string) string {
	var b strings.Builder
	for i, p := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		if strings.HasPrefix(p, " ") {
			b.WriteString(".nf\n" + roff(p) + "\n.fi\n")
		} else {
			b.WriteString(roff(p) + "\n")
		}
	}
	return b.String()
}

// roff escapes what would be a macro or an escape.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
