//go:build !linux

package main

import "errors"

var errNeedsLinux = errors.New("the benchmark reads memory from /proc and needs Linux")

func readMemory(int) (memory, error) { return memory{}, errNeedsLinux }

func resetPeak(int) error { return errNeedsLinux }
