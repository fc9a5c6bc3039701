package loop

func runIdleServer() bool { return false }
