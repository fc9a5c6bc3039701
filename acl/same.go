package acl

import "reflect"

// CompiledFrom reports whether Compile would make this very policy of src, so that
// a reload which changes nothing of it may go on with the policy there is. It says
// no where something of src ends at a stated time, as what Compile finds depends on
// when it is asked then; and of a policy that was changed since it was compiled it
// says what is true of the one it came of.
func (p *Policy) CompiledFrom(src *Source) bool {
	if src.Table != p.source.Table || src.Hits != p.source.Hits || src.endsSomewhere() {
		return false
	}
	a, b := *src, p.source
	a.Table, a.Hits, a.Rest, a.Now = nil, nil, nil, b.Now
	b.Table, b.Hits = nil, nil
	return reflect.DeepEqual(&a, &b)
}

// endsSomewhere reports whether any entry has a time of its own.
func (src *Source) endsSomewhere() bool {
	for i := range src.Users {
		u := &src.Users[i]
		if u.Note.ends() || u.PasswordsSet.Value != "" {
			return true
		}
		for j := range u.Tokens {
			if u.Tokens[j].Expires.Value != "" {
				return true
			}
		}
	}
	for i := range src.Roles {
		if src.Roles[i].Note.ends() {
			return true
		}
	}
	for i := range src.Tokens {
		if src.Tokens[i].Note.ends() {
			return true
		}
	}
	for i := range src.Expiry {
		if src.Expiry[i].Note.ends() {
			return true
		}
	}
	for i := range src.Listeners {
		for j := range src.Listeners[i].AllowNotes {
			if src.Listeners[i].AllowNotes[j].ends() {
				return true
			}
		}
	}
	return false
}

func (n *Note) ends() bool { return n.Until.Value != "" }
