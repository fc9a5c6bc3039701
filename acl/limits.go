package acl

// Limits is what one user's clients may take together. A number is 0 where
// nothing is said, and everybody's holds; a negative one says that there is no limit.
type Limits struct {
	Connections       int64
	CommandsPerSecond int64
	BytesPerSecond    int64 // requests and replies
}

// Limits gives what policy.yaml says of the user's share of the proxy.
func (u *User) Limits() Limits { return u.limits }

// Backend names where the user's calls go, empty: where the listener's do.
func (u *User) Backend() string { return u.backend }
