// Package command knows what each Redis command is: its name, arity,
// categories, keys and channels, and how it may travel to a backend.
//
// The table is generated from facts committed beside it (facts.json, made from
// Redis's and Valkey's own command tables); the class of a command, which says
// whether it may share a backend connection, is a reviewed column of its own
// (class.go). A command that is not in the table does not exist for the proxy.
//
// Invariant: Parse either names every key and channel a call touches, or fails.
// The package is pure: no socket, no clock, no logger.
package command
