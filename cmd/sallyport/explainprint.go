package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// print writes the explanation for people.
func (v *explanation) print(w io.Writer) error {
	var b bytes.Buffer
	headline := v.Decision
	switch {
	case v.Decision == answered:
		headline = "answered locally"
	case v.Reported:
		headline = "allowed (report only)"
	case v.Local:
		headline = "allowed, answered by the proxy itself"
	}
	fmt.Fprintf(&b, "%s: user %s, command %s\n", headline, printable(v.User), spaced(v.Command))
	for _, f := range v.From {
		fmt.Fprintf(&b, "  listener %s: %s %s%s\n", f.Listener, f.Address, f.Decision, by(f.Rule))
		f.print(&b)
	}
	if n := v.Named; n != nil && n.Name == "" {
		fmt.Fprintf(&b, "  listener %s: %s is disabled there\n", n.Listener, spaced(n.Command))
	} else if n != nil {
		fmt.Fprintf(&b, "  listener %s: %s is called %s there\n", n.Listener, spaced(n.Command), spaced(n.Name))
	}
	if v.Reason != "" {
		fmt.Fprintf(&b, "  reason: %s", v.Reason)
		if v.Detail != "" {
			fmt.Fprintf(&b, ": %s", v.Detail)
		}
		b.WriteByte('\n')
	}
	if v.Argument != "" {
		fmt.Fprintf(&b, "  argument: %s\n", printable(v.Argument))
	}
	if v.Rule != nil {
		fmt.Fprintf(&b, "  rule: %s\n", v.Rule)
	}
	for _, p := range v.Backends {
		fmt.Fprintf(&b, "  listener %s: key %s is at backend %s\n", p.Listener, printable(p.Key), p.Backend)
	}
	if v.Expiry != nil {
		fmt.Fprintf(&b, "  %s: %s\n", v.Expiry.Rule, v.Expiry.Says)
	}
	if v.Lifted && v.Guard != nil {
		fmt.Fprintf(&b, "  %s: lifted, as a rule names the command; every such call is put on record\n", v.Guard)
	}
	if len(v.Selectors) > 1 {
		for _, s := range v.Selectors {
			reason := ""
			if s.Reason != "" {
				reason = " (" + s.Reason + ")"
			}
			fmt.Fprintf(&b, "  %s: %s%s%s\n", s.Selector, s.Decision, reason, by(s.Rule))
		}
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return &exit{exitFailure, err}
	}
	return nil
}

// print writes what is said of the user at a listener.
func (f *fromSaid) print(b *bytes.Buffer) {
	if f.Decision != allowed {
		return
	}
	switch {
	case f.user == nil:
		fmt.Fprintf(b, "    login: refused (%s)\n", f.Reason)
	case len(f.Requires) > 0:
		fmt.Fprintf(b, "    login: needs %s together%s\n", strings.Join(f.Requires, " and "), by(f.UserFrom))
	case len(f.Methods) > 0:
		fmt.Fprintf(b, "    login: by %s%s\n", strings.Join(f.Methods, " or "), by(f.UserFrom))
	default:
		fmt.Fprintf(b, "    login: not needed\n")
	}
	for _, r := range f.Roles {
		holds := "holds"
		if !r.Holds {
			holds = "does not hold (" + r.Reason + ")"
		}
		fmt.Fprintf(b, "    role %s: %s\n", printable(r.Role), holds)
	}
}

// spaced is a command's name as it is typed.
func spaced(name string) string { return printable(strings.ReplaceAll(name, "|", " ")) }

func by(r *ruleAt) string {
	if r == nil {
		return ""
	}
	return " by " + r.String()
}

// String gives the rule with its place, "+@read at policy.yaml:4:60".
func (r *ruleAt) String() string {
	s := printable(r.Text)
	if r.File != "" {
		s += " at " + r.File
		if r.Line > 0 {
			s += fmt.Sprintf(":%d:%d", r.Line, r.Column)
		}
	}
	return s
}

// printable quotes what would not be read as one plain word on a terminal.
func printable(s string) string {
	if strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) >= 0 || s == "" {
		return fmt.Sprintf("%q", s)
	}
	return s
}
