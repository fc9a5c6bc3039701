package tlsutil

import "strings"

// Fault is something wrong with a setting or with the file it names: an error
// when returned as one, a finding when listed as a warning. It never holds key
// material.
type Fault struct {
	Setting string // "certificate", "key", "client_ca", "ca", "client_auth", "min_version": the key to point at
	File    string // as the operator wrote it; empty when no file is concerned
	What    string // "is empty"
	Hint    string // what to do about it, or empty
	Err     error  // the cause, or nil
}

// Error gives the fault on one line: "tls/server.key: is empty (hint: …)".
func (f *Fault) Error() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
	} else {
		b.WriteString(f.Setting)
	}
	b.WriteString(": ")
	b.WriteString(f.What)
	if f.Hint != "" {
		b.WriteString(" (hint: " + f.Hint + ")")
	}
	return b.String()
}

// Unwrap gives the cause, so that errors.Is(err, fs.ErrNotExist) works.
func (f *Fault) Unwrap() error { return f.Err }

// Faults lists the faults an error of this package consists of, wrapped or not,
// in the order they were found. The caller owns the slice; it is empty for
// other errors.
func Faults(err error) []*Fault {
	switch e := err.(type) {
	case *Fault:
		return []*Fault{e}
	case interface{ Unwrap() []error }:
		var all []*Fault
		for _, part := range e.Unwrap() {
			all = append(all, Faults(part)...)
		}
		return all
	case interface{ Unwrap() error }:
		return Faults(e.Unwrap())
	}
	return nil
}
