package config

import (
	"strings"
)

// warnRules reports what in rules is written in the clear.
func (v value) warnRules(t text) {
	for _, word := range strings.Fields(t.written) {
		word = strings.Trim(word, `"'()`)
		if (strings.HasPrefix(word, ">") || strings.HasPrefix(word, "<")) && !strings.Contains(word, "${") {
			v.warn("write its hash instead: sallyport acl hash", "a password stands in the rules in clear text")
			return
		}
	}
}

// warnUser reports users that need no password or may do everything. The rules
// apply in order, so what a later one takes back is not reported.
// proved tells that it has a proof of its own beside them.
func (v value) warnUser(name, rules string, proved bool) {
	var on, nopass, allKeys, allCommands bool
	depth := 0
	for _, word := range strings.Fields(strings.ToLower(rules)) {
		opened, closed := strings.Count(word, "("), strings.Count(word, ")")
		if depth += opened - closed; depth > 0 || closed > 0 {
			continue // a selector of its own
		}
		switch word {
		case "on":
			on = true
		case "off":
			on = false
		case "nopass":
			nopass = true
		case "resetpass":
			nopass = false
		case "allkeys", "~*", "%rw~*", "%wr~*":
			allKeys = true
		case "resetkeys":
			allKeys = false
		case "allcommands", "+@all":
			allCommands = true
		case "nocommands", "-@all":
			allCommands = false
		case "reset":
			on, nopass, allKeys, allCommands = false, false, false, false
		default:
			nopass = nopass && !strings.HasPrefix(word, ">") && !strings.HasPrefix(word, "#")
		}
	}
	if nopass && on && !proved {
		v.warn("give it a password: sallyport acl genpass", "%s needs no password", quoted(name))
	}
	if on && allKeys && allCommands {
		v.warn("name what it needs", "%s may run every command on every key", quoted(name))
	}
	if on && name == "default" {
		v.warn("give each client a user of its own", "the user \"default\" is on")
	}
}
