package backend

// Checks reports whether the backend's nodes are asked for their health by
// connections of their own, as they are where there are several.
func (b *Backend) Checks() bool { return b.control != nil }
