//go:build race

package loop

func runIdleServer() bool { return false }
