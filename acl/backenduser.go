package acl

import (
	"slices"
	"strings"

	"github.com/sallyport/sallyport/acl/command"
)

// proxyNeeds are the commands that the proxy sends in its own name: to log in,
// to look after its connections, and to learn what it speaks to.
var proxyNeeds = []string{
	"hello", "auth", "ping", "select", "reset", "client|setname", "client|setinfo", "client|id", "client|list", "client|info", "client|reply",
	"command", "command|count", "command|info", "command|list", "command|docs",
	"info", "role", "readonly", "readwrite", "asking",
	"cluster|info", "cluster|myid", "cluster|nodes", "cluster|shards", "cluster|slots",
}

// BackendDenials gives the rules that take from a backend user of +@all what the
// never list takes from clients, so that a script can't reach it either, and
// what has to be given back because the proxy itself needs it: kept names those
// commands, which scripts go on reaching. Where release is the table of one
// server release, only what that release knows is named; it would refuse the
// rest. With unnamed, guarded commands that no user and no role names are taken
// away, too: no client gets them anyway, unless the guard is not enforced or
// ACL SETUSER names them later.
//
// The rules are for a server of version 7.0 or later, or for an older one as far
// as no subcommand is named.
func (p *Policy) BackendDenials(release *command.Table, unnamed bool) (rules, kept []string) {
	denied := make([]bool, len(p.specs))
	for _, name := range p.neverNames() {
		if category, ok := strings.CutPrefix(name, "@"); ok {
			rules = append(rules, p.denyCategory(release, category, denied)...)
			continue
		}
		spec := p.lang.command(name)
		if spec == nil || release.ByName(name) == nil {
			continue
		}
		denied[spec.ID] = true
		for _, sub := range spec.Subs {
			denied[sub.ID] = true
		}
		rules = append(rules, "-"+name)
	}
	if unnamed && p.modes.Guard == Enforce {
		rules = append(rules, p.denyUnnamed(release, denied)...)
	}
	for _, name := range proxyNeeds {
		if spec := p.lang.command(name); spec != nil && denied[spec.ID] && release.ByName(name) != nil {
			rules, kept = append(rules, "+"+name), append(kept, name)
		}
	}
	return rules, kept
}

// neverNames gives the entries of the never list as they were written, each
// once, in the order of the commands they begin with.
func (p *Policy) neverNames() []string {
	var names []string
	for _, spec := range p.specs {
		if r := p.guard.never[spec.ID]; r != nil {
			if name := strings.TrimPrefix(r.Text, "never: "); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// denyCategory takes away a category, and by name what the release does not
// count among it although the proxy does. What it takes beyond that is the
// release's own idea of the category.
func (p *Policy) denyCategory(release *command.Table, name string, denied []bool) []string {
	bits, _ := p.lang.category(name)
	var rules []string
	if release.Categories()&bits != 0 {
		rules = append(rules, "-@"+name)
	}
	for _, spec := range p.specs {
		there := release.ByName(spec.Name)
		switch {
		case there != nil && (there.Categories&bits != 0 || spec.Container != nil && p.containerIn(release, spec, bits)):
			denied[spec.ID] = true
		case there != nil && spec.Categories&bits != 0:
			denied[spec.ID] = true
			rules = append(rules, "-"+spec.Name)
		}
	}
	return rules
}

// containerIn says whether a rule about the category takes the subcommand with
// its container.
func (p *Policy) containerIn(release *command.Table, spec *command.Spec, bits command.Categories) bool {
	container := release.ByName(spec.Container.Name)
	return container != nil && container.Categories&bits != 0
}

// denyUnnamed takes away guarded commands that no user and no role names.
func (p *Policy) denyUnnamed(release *command.Table, denied []bool) []string {
	var rules []string
	for _, spec := range p.specs {
		ours := len(spec.Subs) > 0 || spec.Class == command.Local || slices.Contains(proxyNeeds, spec.Name)
		if ours || denied[spec.ID] || p.attrs[spec.ID]&attrGuarded == 0 || release.ByName(spec.Name) == nil || p.isNamed(spec) {
			continue
		}
		denied[spec.ID] = true
		rules = append(rules, "-"+spec.Name)
	}
	return rules
}

// isNamed says whether anybody's rules lift the guard off a command.
func (p *Policy) isNamed(spec *command.Spec) bool {
	names := func(s *selector) bool {
		return s.named.has(spec.ID) || slices.ContainsFunc(s.firstArgs, func(f firstArg) bool { return f.id == spec.ID })
	}
	for _, u := range p.users {
		if slices.ContainsFunc(u.selectors, names) {
			return true
		}
	}
	for _, r := range p.roles {
		if names(r.selector) {
			return true
		}
	}
	return false
}
