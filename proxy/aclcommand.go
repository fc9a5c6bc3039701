package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"strings"

	"github.com/sallyport/sallyport/acl"
	"github.com/sallyport/sallyport/acl/command"
	"github.com/sallyport/sallyport/proxy/resp"
)

const (
	errNotInteger = "ERR value is not an integer or out of range"
	errGenPass    = "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"
	errNoACLFile  = "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration."
	errACLSave    = "ERR There was an error trying to save the ACLs. Please check the server logs for more information"
)

// aclFamily answers the ACL command from the policy in force, in the forms of Redis
// 7.2 and later. That only users who name them reach SETUSER, LIST and the
// like is the guard's doing and already settled.
func (s *session) aclFamily(args [][]byte) {
	switch s.call.Spec.Name {
	case "acl|whoami":
		s.emit(resp.AppendBulkString(s.w.scratch[:0], s.user.Name()))
	case "acl|cat":
		s.aclCat(args)
	case "acl|users":
		s.aclUsers(func(u *acl.User) string { return u.Name() })
	case "acl|list":
		s.aclUsers((*acl.User).Line)
	case "acl|getuser":
		s.aclGetUser(string(args[2]))
	case "acl|genpass":
		s.aclGenPass(args)
	case "acl|dryrun":
		s.aclDryRun(args)
	case "acl|log":
		s.aclLogCommand(args)
	case "acl|setuser":
		s.aclSetUser(args)
	case "acl|deluser":
		s.aclDelUser(args)
	case "acl|load":
		s.aclLoad()
	case "acl|save":
		s.aclSave()
	case "acl|help":
		s.help(aclHelp)
	}
}

// aclSyntax is what Redis answers to a subcommand with too many words, where
// its command table only states the fewest.
func (s *session) aclSyntax(args [][]byte) {
	s.fail("ERR unknown subcommand or wrong number of arguments for '" + excerpt(args[1]) + "'. Try ACL HELP.")
}

// aclCat is ACL CAT [category].
func (s *session) aclCat(args [][]byte) {
	b := s.w.scratch[:0]
	switch len(args) {
	case 2:
		names := s.w.table.Categories().Names()
		b = resp.AppendArray(b, len(names))
		for _, name := range names {
			b = resp.AppendBulkString(b, name)
		}
	case 3:
		cat, ok := command.CategoryByName(string(args[2]))
		if !ok || cat&s.w.table.Categories() == 0 {
			s.fail("ERR Unknown category '" + excerpt(args[2]) + "'")
			return
		}
		var in []string
		for _, spec := range s.w.table.Specs() {
			if spec.Categories&cat != 0 {
				in = append(in, spec.Name)
			}
		}
		b = resp.AppendArray(b, len(in))
		for _, name := range in {
			b = resp.AppendBulkString(b, name)
		}
	default:
		s.aclSyntax(args)
		return
	}
	s.emit(b)
}

// aclUsers is ACL USERS and ACL LIST, ordered bytewise by name.
func (s *session) aclUsers(say func(*acl.User) string) {
	users := s.w.policy.Users()
	b := resp.AppendArray(s.w.scratch[:0], len(users))
	for _, u := range users {
		b = resp.AppendBulkString(b, say(u))
	}
	s.emit(b)
}

// aclGetUser is ACL GETUSER name; null for a user there is not. Roles show as
// selectors, which is what they are.
func (s *session) aclGetUser(name string) {
	u := s.w.policy.User(name)
	if u == nil {
		s.emit(resp.AppendNull(s.w.scratch[:0], s.proto))
		return
	}
	b := resp.AppendMap(s.w.scratch[:0], s.proto, 6)
	flags := u.Flags()
	b = resp.AppendSet(resp.AppendBulkString(b, "flags"), s.proto, len(flags))
	for _, f := range flags {
		b = resp.AppendBulkString(b, f)
	}
	hashes := u.Hashes()
	b = resp.AppendArray(resp.AppendBulkString(b, "passwords"), len(hashes))
	for _, h := range hashes {
		b = resp.AppendBulkString(b, h)
	}
	selectors := u.Selectors()
	b = appendSelector(b, selectors[0])
	b = resp.AppendArray(resp.AppendBulkString(b, "selectors"), len(selectors)-1)
	for _, v := range selectors[1:] {
		b = appendSelector(resp.AppendMap(b, s.proto, 3), v)
	}
	s.emit(b)
}

func appendSelector(b []byte, v acl.SelectorText) []byte {
	b = appendPair(b, "commands", v.Commands)
	b = appendPair(b, "keys", v.Keys)
	return appendPair(b, "channels", v.Channels)
}

// aclGenPass is ACL GENPASS [bits].
func (s *session) aclGenPass(args [][]byte) {
	bits := int64(256)
	switch len(args) {
	case 2:
	case 3:
		var ok bool
		if bits, ok = integer(args[2]); !ok {
			s.fail(errNotInteger)
			return
		}
		if bits < 1 || bits > 4096 {
			s.fail(errGenPass)
			return
		}
	default:
		s.aclSyntax(args)
		return
	}
	digits := int(bits+3) / 4
	raw := make([]byte, (digits+1)/2)
	rand.Read(raw) // never fails
	s.emit(resp.AppendBulkString(s.w.scratch[:0], hex.EncodeToString(raw)[:digits]))
}

// aclDryRun is ACL DRYRUN user command [arg …]: what the policy, the guard
// included, would say. As in Redis a refusal is a text, not an error, and
// whether the user is on does not matter.
func (s *session) aclDryRun(args [][]byte) {
	u := s.w.policy.User(string(args[2]))
	if u == nil {
		s.fail("ERR User '" + excerpt(args[2]) + "' not found")
		return
	}
	var call command.Call
	switch s.parse(args[3:], &call) {
	case command.Unknown, command.UnknownSubcommand:
		s.fail("ERR Command '" + excerpt(args[3]) + "' not found")
		return
	case command.WrongArity:
		s.fail("ERR wrong number of arguments for '" + call.Spec.Name + "' command")
		return
	case command.NoKeys:
		s.fail(errBadKeys)
		return
	}
	d := s.w.policy.Decide(u, &call)
	if d.Allowed {
		s.ok()
		return
	}
	s.emit(resp.AppendBulkString(s.w.scratch[:0], dryRunText(u, &call, d)))
}

// dryRunText names the key or channel, which the refusal of a real call does not.
func dryRunText(u *acl.User, call *command.Call, d acl.Decision) string {
	who := "User " + u.Name() + " has no permissions to "
	switch d.Reason {
	case acl.KeyNotAllowed:
		if d.Option != "" {
			return d.Option + " option of SORT denied due to insufficient ACL permissions."
		}
		return who + "access the '" + string(call.Args[d.Arg]) + "' key"
	case acl.ChannelNotAllowed:
		return who + "access the '" + string(call.Args[d.Arg]) + "' channel"
	case acl.TTLRequired:
		return who + "leave the '" + string(call.Args[d.Arg]) + "' key without an expiry, or with so late a one"
	default:
		return who + "run the '" + call.Spec.Name + "' command"
	}
}

// mayRun reports whether a user may run a command in some shape: what COMMAND
// shows of it. Keys are another matter, and the guard is included.
func mayRun(p *acl.Policy, u *acl.User, spec *command.Spec) bool {
	call := command.Call{Spec: spec, Class: spec.Class, Args: [][]byte{[]byte(spec.Name)}}
	d := p.Decide(u, &call)
	switch {
	case d.Allowed:
		return true
	case d.Reason == acl.KeyspaceWide:
		// With a pattern they may name no more than the user's own keys.
		return spec.Name == "scan" || spec.Name == "keys" || spec.Name == "client|tracking"
	case d.Reason != acl.CommandNotAllowed || len(spec.Subs) > 0:
		return false
	}
	return firstArgument(p, u, &call)
}

// firstArgument tries the command with each first argument that the user's
// rules grant: +select|0.
func firstArgument(p *acl.Policy, u *acl.User, call *command.Call) bool {
	grant := "+" + call.Spec.Name + "|"
	for _, v := range u.Selectors() {
		for _, word := range strings.Fields(v.Commands) {
			arg, ok := strings.CutPrefix(word, grant)
			if !ok {
				continue
			}
			call.Args = append(call.Args[:1], []byte(arg))
			if p.Decide(u, call).Allowed {
				return true
			}
		}
	}
	return false
}

// help answers HELP: lines of status replies, as Redis does.
func (s *session) help(lines []string) {
	b := resp.AppendArray(s.w.scratch[:0], len(lines)+2)
	for _, l := range lines {
		b = resp.AppendSimple(b, l)
	}
	b = resp.AppendSimple(b, "HELP")
	s.emit(resp.AppendSimple(b, "    Prints this help."))
}

var aclHelp = []string{
	"ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
	"CAT [<category>]",
	"    The categories, or what a category holds.",
	"DELUSER <username> [<username> ...]",
	"    Remove users, and end their connections.",
	"DRYRUN <username> <command> [<arg> ...]",
	"    Whether the user may run the command, the guard included. It is not run.",
	"GETUSER <username>",
	"    A user's rules.",
	"GENPASS [<bits>]",
	"    A strong password of 256 bits, or of that many.",
	"LIST",
	"    The users as lines of an ACL file.",
	"LOAD",
	"    Read the ACL file anew.",
	"LOG [<count> | RESET]",
	"    Who was denied what lately.",
	"SAVE",
	"    Write the ACL file.",
	"SETUSER <username> <attribute> [<attribute> ...]",
	"    Make or change a user, but for those of the proxy's own policy.",
	"USERS",
	"    The names of all users.",
	"WHOAMI",
	"    The user this connection speaks for.",
}
