// Command generate turns facts.json into table_gen.go. It is run by go generate
// from the folder of package command:
//
//	go run ./generate [-facts facts.json] [-out table_gen.go]
//
// facts.json holds, one command a line, what running servers and released
// command definitions say: name, arity, flags, categories, key specifications,
// and for each version ("in", indexes into "versions") the values in which it
// differs. A key specification is written "FLAGS; BEGIN; FIND", as in
//
//	RO access; index 1; range -1 1 0        (lastkey, step, limit)
//	RW access update; index 2; keynum 0 1 1 (keynumidx, firstkey, step)
//	RO access; keyword STREAMS 1; range -1 1 2
//
// The output depends on nothing but facts.json.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	factsPath := flag.String("facts", "facts.json", "the facts to read")
	outPath := flag.String("out", "table_gen.go", "the Go file to write")
	flag.Parse()
	if err := run(*factsPath, *outPath); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(factsPath, outPath string) error {
	text, err := os.ReadFile(factsPath)
	if err != nil {
		return fmt.Errorf("reading the facts: %w", err)
	}
	source, err := render(text)
	if err != nil {
		return fmt.Errorf("%s: %w", factsPath, err)
	}
	if err := os.WriteFile(outPath, source, 0o644); err != nil {
		return fmt.Errorf("writing the table: %w", err)
	}
	return nil
}
