package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/proxy/audit"
	"github.com/spf13/cobra"
)

func newAudit(std streams) *cobra.Command {
	return group("audit", "Check the record of events",
		"Check what was written down: whether a record is whole and unchanged.",
		newVerify(std))
}

// examination is what audit verify is asked for.
type examination struct {
	keys, expect    []string
	partial, asJSON bool
}

func newVerify(std streams) *cobra.Command {
	var x examination
	cmd := &cobra.Command{
		Use:   "verify FILE…",
		Short: "Say whether a record of events is whole and unchanged",
		Long: `Verify reads the files of one sink, oldest first ("-" is standard input), and
checks the chain that runs through their lines. It says each line that was
changed or cut short, each place where lines were removed or moved, and the
number and hash of the last line.

A chain made with chain_key_file proves something against everybody who has not
that key: name it with --key-file, and each key that was used before it. Without
a key the chain is a plain one. It shows accidents and clumsy hands only, since
whoever changes a line can make all that follows fit.

Lines that were cut off the end leave no trace in the file itself. Note where a
record stood (the last line this command prints, or the checkpoint events which
every other sink has) and give it with --expect SEQ:HASH.

Exit codes: 0 whole and unchanged, 1 not, 2 wrong usage.`,
		Example: `  sallyport audit verify --key-file chain.key events.jsonl.1 events.jsonl
  sallyport audit verify --expect 4711:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 events.jsonl`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, files []string) error { return x.verify(std, files) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&x.keys, "key-file", nil, "the chain's key `FILE`, repeatable: keys that were in use one after the other")
	f.StringArrayVar(&x.expect, "expect", nil, "a line that must be there, as `SEQ:HASH`, repeatable")
	f.BoolVar(&x.partial, "partial", false, "the first file begins in the middle of a record")
	f.BoolVar(&x.asJSON, "json", false, "as JSON")
	_ = cmd.MarkFlagFilename("key-file") // fails for a flag that does not exist only
	return cmd
}

// maxKeyFile is more than a key has.
const maxKeyFile = 64 << 10

func (x *examination) options() (o audit.VerifierOptions, err error) {
	o.Partial = x.partial
	for _, path := range x.keys {
		secret, err := readSecret("--key-file", path)
		if err != nil {
			return o, err
		}
		k, err := audit.NewKey(secret)
		if err != nil {
			return o, usage("--key-file %s: %w", path, err)
		}
		o.Keys = append(o.Keys, k)
	}
	for _, text := range x.expect {
		seq, hash, ok := strings.Cut(text, ":")
		n, err := strconv.ParseUint(seq, 10, 64)
		if !ok || err != nil || len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
			return o, usage("--expect %q is not SEQ:HASH: a number, a colon, 64 hexadecimal digits in lower case", text)
		}
		o.Expect = append(o.Expect, audit.Head{Seq: n, Hash: hash})
	}
	return o, nil
}

// readSecret gives a file's only line, as the configuration reads it.
func readSecret(flag, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &exit{exitUsage, err}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, &exit{exitFailure, err}
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) > maxKeyFile || bytes.ContainsAny(text, "\r\n\x00") {
		return nil, usage("%s %s: is not one line of text", flag, path)
	}
	return text, nil
}

func (x *examination) verify(std streams, files []string) error {
	o, err := x.options()
	if err != nil {
		return err
	}
	v := audit.NewVerifier(o)
	for _, path := range files {
		if err := verifyFile(std, v, path); err != nil {
			return &exit{exitFailure, err}
		}
	}
	verdict := v.Verdict()
	if x.asJSON {
		err = printJSON(std, verdictJSON(verdict))
	} else {
		err = printLines(std, verdictLines(verdict))
	}
	if err != nil {
		return err
	}
	if !sound(verdict) {
		return &exit{code: exitFailure}
	}
	return nil
}

func verifyFile(std streams, v *audit.Verifier, path string) error {
	if path == "-" {
		return v.File("standard input", std.in)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return v.File(path, f)
}

func sound(v audit.Verdict) bool { return v.Count == 0 && len(v.Missing) == 0 && v.Lines > 0 }

func verdictLines(v audit.Verdict) []string {
	var out []string
	for _, f := range v.Faults {
		out = append(out, f.String())
	}
	if more := v.Count - len(v.Faults); more > 0 {
		out = append(out, fmt.Sprintf("… and %d more", more))
	}
	for _, n := range v.Notes {
		out = append(out, "note: "+n.String())
	}
	for _, h := range v.Missing {
		out = append(out, "expected and not there: "+h.String())
	}
	for _, id := range v.NeedsKey {
		out = append(out, "give the key with the id "+id+" with --key-file")
	}
	if v.Lines == 0 {
		return append(out, "there is not one line")
	}
	out = append(out, "last line: "+v.Last.String())
	if !v.Ended {
		out = append(out, "note: the record has no end: it is being written, the process was killed, or its end was cut off (--expect tells)")
	}
	return append(out, conclusion(v))
}

func conclusion(v audit.Verdict) string {
	lines := strconv.FormatUint(v.Lines, 10) + " lines, numbers " + strconv.FormatUint(v.First.Seq, 10) + " to " + strconv.FormatUint(v.Last.Seq, 10)
	switch {
	case !sound(v):
		return lines + ": NOT as they were written, " + count(v.Count+len(v.Missing), "fault")
	case v.Keyed:
		return lines + ": whole and unchanged, by the key"
	}
	return lines + ": whole and unchanged, as far as a chain without a key can tell"
}

// finding is a fault or a note as verify --json writes it.
type finding struct {
	File string `json:"file"`
	Line int    `json:"line"`
	What string `json:"what"`
}

func verdictJSON(v audit.Verdict) any {
	list := func(of []audit.Fault) []finding {
		out := make([]finding, len(of))
		for i, f := range of {
			out[i] = finding(f)
		}
		return out
	}
	missing := make([]string, len(v.Missing))
	for i, h := range v.Missing {
		missing[i] = h.String()
	}
	return struct {
		OK      bool      `json:"ok"`
		Keyed   bool      `json:"keyed"`
		Ended   bool      `json:"ended"`
		Lines   uint64    `json:"lines"`
		First   string    `json:"first"`
		Last    string    `json:"last"`
		Count   int       `json:"faults_in_all"`
		Faults  []finding `json:"faults"`
		Notes   []finding `json:"notes"`
		Missing []string  `json:"missing"`
		Keys    []string  `json:"keys_not_given"`
	}{sound(v), v.Keyed, v.Ended, v.Lines, v.First.String(), v.Last.String(), v.Count, list(v.Faults), list(v.Notes), missing, append([]string{}, v.NeedsKey...)}
}
