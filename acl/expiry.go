package acl

// expiryRule is a compiled ExpirySource.
type expiryRule struct {
	keys []pattern
	rule *Rule
	note note
}

func (c *compiler) compileExpiry(src []ExpirySource) []expiryRule { return nil }
