package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// facts is facts.json.
type facts struct {
	Versions []string      `json:"versions"`
	Commands []commandFact `json:"commands"`
}

// commandFact is one command or subcommand. The values at the top are the
// newest ones known; Differences holds what a named version says instead.
type commandFact struct {
	Name       string   `json:"name"`
	Arity      int      `json:"arity"`
	Flags      []string `json:"flags"`
	Categories []string `json:"categories"`
	Keys       []string `json:"keys"`
	Range      [3]int   `json:"range"` // first key, last key, step of the COMMAND reply
	Since      string   `json:"since"`
	Module     string   `json:"module"`
	Tips       []string `json:"tips"`
	// Only is "sentinel" for what exists in sentinel mode alone and
	// "experimental" for what is defined but not registered: neither is a
	// command of a data node, so neither enters a table.
	Only        string                `json:"only"`
	In          []int                 `json:"in"`
	Differences map[string]difference `json:"differences"`
}

// difference holds the fields in which one version departs; nil means no departure.
type difference struct {
	Arity      *int      `json:"arity"`
	Flags      *[]string `json:"flags"`
	Categories *[]string `json:"categories"`
	Keys       *[]string `json:"keys"`
	Range      *[3]int   `json:"range"`
}

func readFacts(text []byte) (*facts, error) {
	var f facts
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, err
	}
	sorted := slices.IsSortedFunc(f.Commands, func(a, b commandFact) int { return strings.Compare(a.Name, b.Name) })
	if !sorted {
		return nil, fmt.Errorf("commands are not sorted by name")
	}
	for i, c := range f.Commands {
		if i > 0 && f.Commands[i-1].Name == c.Name {
			return nil, fmt.Errorf("%s: listed twice", c.Name)
		}
		for _, v := range c.In {
			if v < 0 || v >= len(f.Versions) {
				return nil, fmt.Errorf("%s: no version number %d", c.Name, v)
			}
		}
		for label := range c.Differences {
			if !slices.Contains(f.Versions, label) {
				return nil, fmt.Errorf("%s: differences name the unknown version %q", c.Name, label)
			}
		}
	}
	return &f, nil
}

// as gives the command as the labelled version has it.
func (c commandFact) as(label string) commandFact {
	d := c.Differences[label]
	if d.Arity != nil {
		c.Arity = *d.Arity
	}
	if d.Flags != nil {
		c.Flags = *d.Flags
	}
	if d.Categories != nil {
		c.Categories = *d.Categories
	}
	if d.Keys != nil {
		c.Keys = *d.Keys
	}
	if d.Range != nil {
		c.Range = *d.Range
	}
	return c
}
