//go:build !linux

package main

import "errors"

func readCPU(int) (cpuTime, error) {
	return cpuTime{}, errors.New("the benchmark reads CPU from /proc and needs Linux")
}
