package config

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/acl"
)

// Problem is a fault, or a warning, at a place in the operator's files.
type Problem struct {
	At      acl.Origin // Line and Column are 0 where only the file is known
	What    string     // "listeners[0].adress: unknown key"
	Hint    string     // `did you mean "address"?`, or empty
	Excerpt string     // the line and its neighbours with a caret, secrets masked; or empty
	Warning bool       // the configuration works, but deserves a look
}

// String gives the problem on one line, as "file:line:col: what (hint: …)".
func (p Problem) String() string {
	s := p.headline()
	if p.Hint != "" {
		s += " (hint: " + p.Hint + ")"
	}
	return s
}

func (p Problem) headline() string {
	var b strings.Builder
	b.WriteString(p.At.File)
	if p.At.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.At.Line, max(p.At.Column, 1))
	}
	b.WriteString(": ")
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.What)
	return b.String()
}

// Problems is what Load found, in the order of the files.
type Problems []Problem

// Faults are the problems that keep the configuration from being used.
func (ps Problems) Faults() Problems { return ps.only(false) }

// Warnings are the findings of check: the configuration works all the same.
func (ps Problems) Warnings() Problems { return ps.only(true) }

func (ps Problems) only(warning bool) Problems {
	var out Problems
	for _, p := range ps {
		if p.Warning == warning {
			out = append(out, p)
		}
	}
	return out
}

// Error makes the faults an error, one a line with file, line, column and hint.
func (ps Problems) Error() string {
	faults := ps.Faults()
	lines := make([]string, len(faults))
	for i, p := range faults {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Print writes each problem with its excerpt and hint, for people.
func (ps Problems) Print(w io.Writer) error {
	for _, p := range ps {
		if _, err := fmt.Fprintf(w, "%s\n%s", p.headline(), p.Excerpt); err != nil {
			return err
		}
		if p.Hint == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "  hint: %s\n", p.Hint); err != nil {
			return err
		}
	}
	return nil
}

// sorted puts the problems in the order of the files, sallyport.yaml first, and
// drops the second of two that say the same of the same place.
func (ps Problems) sorted(files []string) Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(slices.Index(files, a.At.File), slices.Index(files, b.At.File)),
			cmp.Compare(a.At.Line, b.At.Line),
			cmp.Compare(a.At.Column, b.At.Column),
		)
	})
	return slices.CompactFunc(ps, func(a, b Problem) bool {
		return a.At == b.At && a.What == b.What
	})
}
