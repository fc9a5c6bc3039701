package loop

// Blocked reports whether the kernel took less than it was given: Drained
// follows when it has taken the rest.
func (c *Conn) Blocked() bool { return c.blocked }
